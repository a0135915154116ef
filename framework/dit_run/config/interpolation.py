"""Interpolation: replaces ``${env:…}`` in all values of a config, by the type of each option."""

from __future__ import annotations

from collections.abc import Mapping

from dit_run.config.environment import expand, uses_environment
from dit_run.config.keys import key_name
from dit_run.config.nodes import MapNode, Scalar, put_node, walk
from dit_run.config.written_options import written_options
from dit_run.options import Option
from dit_run.problems import KeyPath, Problem
from dit_run.registry.registry import Registry

__all__ = ["expand_all"]


def expand_all(root: MapNode, registry: Registry, problems: list[Problem]) -> dict[KeyPath, str]:
    """Replace ``${env:…}`` in all values; return the secret values as they were written, by key."""
    held = list(written_options(root, registry))
    options = {(*each.path, option.name): option for each in held for option in each.options}
    secrets: dict[KeyPath, str] = {}
    for path, node in list(walk(root)):
        if not isinstance(node, Scalar) or path[0] == "plugins":
            continue
        option = _option(options, path)
        if option is not None and "secret" in option.markers and node.value is not None:
            secrets[path] = _secret(node, path, problems)
        if uses_environment(node) and len(path) > 1 and not (len(path) == 2 and isinstance(path[1], int)):
            put_node(root, path, expand(node, problems, text_wanted=option is not None and _is_text(option)))
    return secrets


def _option(options: Mapping[KeyPath, Option], path: KeyPath) -> Option | None:
    """Return the innermost option that a value belongs to: its own, or that of the list that it is in."""
    above = (path[:length] for length in range(len(path), 0, -1))
    return next((options[each] for each in above if each in options), None)


def _secret(node: Scalar, path: KeyPath, problems: list[Problem]) -> str:
    if not (isinstance(node.value, str) and "${env:" in node.value):
        message = f"{key_name(path)} is a secret, which must not be written into a config"
        help_ = ("put it into an environment variable NAME and write ${env:NAME}",)
        problems.append(Problem("secret-in-config", message, path, node.span.place(), help_))
    return str(node.value)


def _is_text(option: Option) -> bool:
    schema = option.schema.get("items") or option.schema.get("additionalProperties") or option.schema
    kinds = schema["type"]
    return set([kinds] if isinstance(kinds, str) else kinds) <= {"string", "null"}
