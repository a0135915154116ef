"""Renamed keys: a key that is written with an old name, as its option declares it by ``Formerly``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from typing import Any

from dit_run.config.keys import config_options, key_name
from dit_run.config.merge import merge
from dit_run.config.nodes import Entry, MapNode, Source
from dit_run.config.written_options import written_options
from dit_run.problems import KeyPath, Problem
from dit_run.registry.registry import Registry
from dit_run.settings import Config

__all__ = ["former_names", "rename_keys", "with_current_names"]


def rename_keys(root: MapNode, registry: Registry, sources: Sequence[Source], problems: list[Problem]) -> list[Problem]:
    """Store each key that is written with an old name under its current one, and return a notice for each.

    Of two names in two layers the upper one counts; both in one layer add a problem. ``sources`` are the layers, lowest
    first.
    """
    ranks = {source.name: rank for rank, source in enumerate(sources)}
    notices = []
    for written in written_options(root, registry):
        for option in written.options:
            for old in option.formerly:
                former = written.node.entries.get(old)
                if former is not None:
                    refused = _rename(written.path, written.node, former, option.name, ranks)
                    problems += refused
                    notices += [] if refused else [_notice(written.path, former, option.name)]
    return notices


def _rename(path: KeyPath, section: MapNode, former: Entry, new: str, ranks: Mapping[str, int]) -> list[Problem]:
    """Rename an entry in its section; return a problem if the same layer writes the current name too."""
    current = section.entries.get(new)
    both = [replace(former, key=new), *([] if current is None else [current])]
    del section.entries[former.key]
    section.entries[new] = reduce(_laid, sorted(both, key=lambda entry: ranks[entry.node.span.source.name]))
    same_layer = current is not None and current.node.span.source is former.node.span.source
    return [_both(path, former, current)] if current is not None and same_layer else []


def _laid(lower: Entry, upper: Entry) -> Entry:
    """Return one value over another: mappings merge, everything else replaces."""
    if isinstance(lower.node, MapNode) and isinstance(upper.node, MapNode):
        return replace(upper, node=merge(lower.node, upper.node))
    return upper


def _notice(path: KeyPath, former: Entry, new: str) -> Problem:
    message = f"{key_name((*path, former.key))} is now {key_name((*path, new))}"
    help_ = (f"write {new} in place of {former.key}, which a later release may refuse",)
    return Problem("renamed-key", message, (), former.span.place(), help_, severity="notice")


def _both(path: KeyPath, former: Entry, current: Entry) -> Problem:
    old, new = key_name((*path, former.key)), key_name((*path, current.key))
    message = f"{old} is the old name of {new}, and both are written"
    places = (current.span.place(),)
    help_ = (f"remove {former.key}",)
    return Problem("two-names", message, (*path, current.key), former.span.place(), help_, related_places=places)


def former_names(config: Config) -> dict[str, str]:
    """Return the current name of each key of a config by its old names: ``{"training.old": "training.new"}``."""
    return {
        key_name((*path[:-1], old)): key_name(path)
        for path, option, _ in config_options(config)
        for old in option.formerly
    }


def with_current_names(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return plain values that an earlier release wrote, with the names that the keys of a config have now."""
    current = deepcopy(dict(values))
    for path, option, _ in config_options(config):
        for old in option.formerly:
            section = _at(current, path[:-1])
            if isinstance(section, dict) and old in section:
                section[option.name] = section.pop(old)
    return current


def _at(values: Any, path: KeyPath) -> Any:
    """Return what lies at a path, or None."""
    try:
        for step in path:
            values = values[step]
    except (KeyError, IndexError, TypeError):
        return None
    return values
