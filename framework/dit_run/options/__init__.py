"""Options: a frozen dataclass that is documentation, JSON Schema and typed object at once.

The fields of an options class are the keys of a config. The hint of a field says which values the key takes,
``Annotated`` adds limits, markers and relations to other keys, and the docstring under the field is its documentation.
A hint that cannot become a config key is refused with :class:`HintError`.
"""

from __future__ import annotations

from dit_run.options.component_lists import ComponentsOf, components_of
from dit_run.options.constraints import (
    Adjustable,
    HintError,
    HubOrPath,
    LocalPath,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Probability,
    Secret,
    bounds,
)
from dit_run.options.conversion import MISSING, Option, build, options_of, plain, schema_of
from dit_run.options.docstrings import documentation, summary
from dit_run.options.relations import Formerly, acts_if, acts_unless, instead_of

__all__ = [
    "MISSING",
    "Adjustable",
    "ComponentsOf",
    "Formerly",
    "HintError",
    "HubOrPath",
    "LocalPath",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Operational",
    "Option",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Secret",
    "acts_if",
    "acts_unless",
    "bounds",
    "build",
    "components_of",
    "documentation",
    "instead_of",
    "options_of",
    "plain",
    "schema_of",
    "summary",
]
