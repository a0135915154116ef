"""A component: one type of one kind, as a plugin offers it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dit_run.options import options_of
from dit_run.registry.kinds import Kind

__all__ = ["Component", "Kind"]


@dataclass(frozen=True)
class Component:
    """A type of a kind: the name in a config, the options it takes, and the factory that builds it.

    The constructor raises TypeError or ValueError for an attribute that is not as described here.
    """

    kind: Kind
    type: str
    """The name in a config: lower-case letters, digits and underscores."""
    options: builtins.type
    """A frozen keyword-only dataclass; its fields are the config keys. See :mod:`dit_run.options`."""
    factory: str | Callable[..., Any]
    """``"package.module:build"``, imported only when a config uses the type; or the callable itself.

    Called as ``build(options, **runtime)`` with those runtime keywords of the kind that its signature names."""
    rules: tuple[str, ...] = ()
    """Cross-field checks as ``"package.module:function"``, light to import. See :class:`dit_run.protocols.Rule`."""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            if self.kind in list(Kind):
                name = Kind(self.kind).name
                raise TypeError(f"component {self.type!r}: write the kind as Kind.{name}, not {self.kind!r}")
            known = ", ".join(Kind)
            raise TypeError(f"component {self.type!r}: unknown kind {self.kind!r}; the kinds are {known}")
        if not (isinstance(self.type, str) and self.type.isidentifier() and self.type == self.type.lower()):
            raise ValueError(
                f"component {self.kind}.{self.type}: a type is made of lower-case letters, digits and underscores"
            )
        options_of(self.options)
        for reference in (self.factory, *self.rules):
            if isinstance(reference, str) and not _is_reference(reference):
                raise ValueError(f"component {self.name}: {reference!r} should read 'package.module:function'")
        if not (isinstance(self.factory, str) or callable(self.factory)):
            wanted = "'package.module:function' or callable"
            raise TypeError(f"component {self.name}: factory should be {wanted}, not {self.factory!r}")

    @property
    def name(self) -> str:
        """``kind.type``, as commands name it."""
        return f"{self.kind}.{self.type}"


def _is_reference(text: str) -> bool:
    module, colon, function = text.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
