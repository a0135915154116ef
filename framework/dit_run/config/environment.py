"""Environment variables in values: ``${env:NAME}`` and ``${env:NAME:-default}``."""

from __future__ import annotations

import os
import re

from dit_run.config.nodes import Scalar
from dit_run.config.yaml_parser import MAX_PROBLEMS
from dit_run.config.yaml_scalars import NotFinite, read_scalar
from dit_run.problems import Place, Problem

__all__ = ["ENV_PATTERN", "escape", "expand", "uses_environment"]

ENV_PATTERN = r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"
"""Pattern of a value that is one reference; the schema for editors accepts it in place of a number."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


def uses_environment(node: Scalar) -> bool:
    """Return True if the value holds a reference or an escaped ``$${``."""
    return isinstance(node.value, str) and "${" in node.value


def escape(text: str) -> str:
    """Write ``${`` as ``$${``, so that the text reads back unchanged."""
    return text.replace("${", "$${")


def expand(node: Scalar, problems: list[Problem], *, text_wanted: bool = False) -> Scalar:
    """Replace the references in a scalar.

    If an unquoted value is exactly one reference, the variable's text is read as YAML reads an unquoted word, unless
    ``text_wanted``. A reference that cannot be replaced adds a problem and gives a broken scalar.
    """
    if not (isinstance(node.value, str) and uses_environment(node)):
        return node
    known = len(problems)
    text = _REFERENCE.sub(lambda match: _replacement(match, node, problems), node.value)
    if len(problems) > known:
        return Scalar(node.span, None, broken=True)
    if text_wanted or not node.plain or not re.match(ENV_PATTERN, node.value):
        return Scalar(node.span, text)
    try:
        return Scalar(node.span, read_scalar(text))
    except NotFinite:
        message = f"{node.value} is '{text}', which is not a finite number"
        problems.append(Problem("not-finite", message, place=node.span.place(), help=("set a finite number",)))
        return Scalar(node.span, None, broken=True)


def _replacement(match: re.Match[str], node: Scalar, problems: list[Problem]) -> str:
    if match.group() == "$${":
        return "${"
    if len(problems) >= MAX_PROBLEMS:
        return ""
    place = _place(match, node)
    env = _ENV.match(match.group(1)) if match.group(2) else None
    if env is None:
        message = f"'{match.group()}' does not name an environment variable"
        help_ = ("write ${env:NAME} or ${env:NAME:-default}; for a literal '${' write '$${'",)
        problems.append(Problem("bad-reference", message, place=place, help=help_))
        return ""
    name, default = env.groups()
    value = os.environ.get(name)
    if value is None and default is None:
        message = f"the environment variable {name} is not set"
        help_ = (f"set it, or write ${{env:{name}:-default}}",)
        problems.append(Problem("unset-variable", message, place=place, help=help_))
    return value if value is not None else default or ""


def _place(match: re.Match[str], node: Scalar) -> Place:
    """Return the place of the reference if it is on the first line of the value, else the place of the value."""
    place = node.span.place()
    at = place.text.find(match.group(), place.column - 1)
    if at < 0 or at + len(match.group()) > place.column - 1 + place.length:
        return place
    return Place(place.source, place.line, at + 1, len(match.group()), place.text)
