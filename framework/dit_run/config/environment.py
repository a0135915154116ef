"""Environment: ``${env:NAME}`` and ``${env:NAME:-default}`` inside values."""

from __future__ import annotations

import os
import re

from dit_run.config.nodes import Scalar
from dit_run.config.scalars import NotFinite, read_scalar
from dit_run.config.yaml_parser import MAX_PROBLEMS
from dit_run.problems import Place, Problem

__all__ = ["ENV_PATTERN", "escape", "expand", "uses_environment"]

ENV_PATTERN = r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"
"""A whole value that is one reference, as the schema for editors accepts it in place of a number."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


def uses_environment(node: Scalar) -> bool:
    return isinstance(node.value, str) and "${" in node.value


def escape(text: str) -> str:
    """The text as a config writes it, so that reading gives it back: ``${`` becomes ``$${``."""
    return text.replace("${", "$${")


def expand(node: Scalar, problems: list[Problem], *, text_wanted: bool = False) -> Scalar:
    """The scalar with its references replaced.

    Where a plain value is one reference and nothing else, what it stands for is read as YAML reads a plain word,
    unless ``text_wanted``. A reference that cannot be replaced is a problem at its place, and the value None.
    """
    if not isinstance(node.value, str) or "${" not in node.value:
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
        problems.append(
            Problem("not-finite", f"{node.value} is '{text}', not a finite number", place=node.span.place())
        )
        return Scalar(node.span, None, broken=True)


def _replacement(match: re.Match[str], node: Scalar, problems: list[Problem]) -> str:
    if match.group() == "$${":
        return "${"
    if len(problems) >= MAX_PROBLEMS:
        return ""
    place = _place(match, node)
    env = _ENV.match(match.group(1)) if match.group(2) else None
    if env is None:
        help_ = ("write ${env:NAME} or ${env:NAME:-default}; a literal '${' is written '$${'",)
        problems.append(Problem("bad-reference", f"'{match.group()}' is not a reference", place=place, help=help_))
        return ""
    name, default = env.groups()
    value = os.environ.get(name)
    if value is None and default is None:
        help_ = (f"set it, or write ${{env:{name}:-default}}",)
        problems.append(
            Problem("unset-variable", f"the environment variable {name} is not set", place=place, help=help_)
        )
    return value if value is not None else default or ""


def _place(match: re.Match[str], node: Scalar) -> Place:
    """The reference's own place where it stands on the value's first line as written, else the value's."""
    place = node.span.place()
    at = place.text.find(match.group(), place.column - 1)
    if at < 0 or at + len(match.group()) > place.column - 1 + place.length:
        return place
    return Place(place.source, place.line, at + 1, len(match.group()), place.text)
