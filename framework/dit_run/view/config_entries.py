"""The config of a run, key by key, with the origin and the documentation of each value; and how configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dit_run.config.explanation import Explanation, explanations
from dit_run.config.keys import key_name
from dit_run.config.renamed_keys import with_current_names
from dit_run.config.resolve import resolve
from dit_run.config.used_sections import Used
from dit_run.options import MISSING
from dit_run.problems import DitRunError, KeyPath
from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry, discover
from dit_run.runs.reading.run_files import RunFiles
from dit_run.settings import SECTIONS, Config

__all__ = ["config_entries", "differing_entries", "sampler_names"]

_MOST = 5000
"""Number of keys that are shown."""
_SECOND_NAMES = ("data.dataset_name",)
"""Keys that repeat another one."""


def config_entries(files: RunFiles) -> list[dict[str, Any]]:
    """Return each key with value, origin, documentation and default, in the order of the reference.

    Values are those of the run's ``config.yaml``. Keys of plugins that are not installed here have no documentation.
    """
    config, installed = _config(files)
    written = dict(_leaves(files.config if config is None else with_current_names(files.config, config)))
    origins = files.object("provenance.json").get("origins")
    known = origins if isinstance(origins, dict) else {}
    explained = {item.path: item for item in _explanations(config, installed)}
    paths = [*explained, *(path for path in written if path not in explained)]
    return [_entry(path, written, explained.get(path), known) for path in paths[:_MOST]]


def differing_entries(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Return the keys whose values differ among runs: those that change what is learnt first."""
    configs = [{entry["key"]: entry for entry in config_entries(files)} for files in runs]
    keys = dict.fromkeys(key for entries in configs for key in entries if key not in _SECOND_NAMES)
    found = []
    for key in keys:
        values = [entries[key]["value"] if key in entries else None for entries in configs]
        if any(value != values[0] for value in values):
            first = next(entries[key] for entries in configs if key in entries)
            missing = [key not in entries for entries in configs]
            found.append({**first, "values": values, "missing": missing})
    return sorted(found, key=lambda entry: entry["operational"])


def _entry(
    path: KeyPath, written: Mapping[KeyPath, Any], item: Explanation | None, origins: Mapping[str, Any]
) -> dict[str, Any]:
    key = key_name(path)
    value = written[path] if path in written or item is None else item.value
    default = None if item is None or item.default is MISSING else item.default
    is_default = item is not None and item.default is not MISSING and value == item.default
    return {
        "key": key,
        "value": value,
        "origin": str(origins.get(key, "default" if is_default else "config")),
        "changed": not is_default,
        "default": default,
        "expected": item.expected if item else "",
        "text": item.text if item else "",
        "operational": item.operational if item else False,
    }


def sampler_names(files: RunFiles) -> list[str]:
    """Return the samplers of the run's scheduler, the default first; empty if they are not known."""
    config, known = _config(files)
    choices = () if config is None or "scheduler" not in known else config.chosen("scheduler")
    return [str(name) for choice in choices for name in getattr(choice.options, "samplers", ())]


def _explanations(config: Config | None, installed: frozenset[str]) -> list[Explanation]:
    found = [] if config is None else explanations(config)
    return [item for item in found if item.path[0] in installed or item.path[0] in SECTIONS]


def _config(files: RunFiles) -> tuple[Config | None, frozenset[str]]:
    """Return the config of a run, and the sections of which it has the components: those with installed types.

    No other file is read and no code of the run folder is loaded. The config is None if it cannot be read so.
    """
    path, registry = files.file("config.yaml"), discover()
    known = frozenset(kind.section for kind in Kind if _is_installed(files.config.get(kind.section), kind, registry))
    if path is None or files.config.get("extends"):
        return None, known
    try:
        return resolve(path, registry=registry, used=Used(known, plugin_files=False)).config, known
    except (DitRunError, OSError, RecursionError):
        return None, known


def _is_installed(section: Any, kind: Kind, registry: Registry) -> bool:
    """Return True if all components of a section are of types that are installed; a missing type is the default."""
    members = section if isinstance(section, list) else [section]
    types = [member.get("type") for member in members if isinstance(member, Mapping)]
    return all(type_ is None or str(type_) in registry.components(kind) for type_ in types)


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each value with its path; a list of components is gone through, any other list is a value."""
    if isinstance(value, Mapping) and (value or not path):
        items: list[tuple[str | int, Any]] = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        items = list(enumerate(value))
    else:
        yield path, value
        return
    for key, item in items if len(path) < 12 else ():
        yield from _leaves(item, (*path, key))
