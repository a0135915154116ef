"""Advice for a type that an earlier run took from a plugin which is no longer installed, or is left out now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dit_run.config.keys import KINDS_BY_SECTION, key_name
from dit_run.config.nodes import MapNode, find, value_of
from dit_run.problems import Problem
from dit_run.registry.registry import Registry
from dit_run.settings import TrainingOptions

__all__ = ["PluginRecords", "with_former_plugin"]

PluginRecords = Callable[[Path], Sequence[Mapping[str, Any]]]
"""Returns the plugin records of the run in a folder, none if the folder holds no run."""


def with_former_plugin(problem: Problem, root: MapNode, registry: Registry, records: PluginRecords) -> Problem:
    """Return an ``unknown-type`` problem with the plugin that the run in ``training.output_dir`` took the type from.

    Any other problem is returned as it is, and so is one of a plugin that is installed but fails to load: that failure
    is reported elsewhere.
    """
    if problem.code != "unknown-type":
        return problem
    section, type_ = problem.path[:-1], value_of(find(root, problem.path)[1])
    wanted = {"section": key_name(section), "component": f"{KINDS_BY_SECTION[str(section[0])]}.{type_}"}
    for record in records(_run_folder(root)):
        if wanted.items() <= record.items() and all(record["plugin"] != plugin.name for plugin in registry.failed):
            return dataclasses.replace(problem, help=(_advice(record, registry), *problem.help))
    return problem


def _run_folder(root: MapNode) -> Path:
    entry, node = find(root, ("training", "output_dir"))
    folder = value_of(node) if entry and entry.node is node else None
    return Path(folder if isinstance(folder, str) else TrainingOptions.output_dir)


def _advice(record: Mapping[str, Any], registry: Registry) -> str:
    if not record.get("distribution"):
        source = record.get("source")
        return f"the earlier run used it from the file {source}: add that file, or the run's copy of it, to plugins:"
    distribution = record["distribution"]
    named = " ".join(filter(None, (distribution, record.get("version"))))
    cause = registry.left_out.get((record["plugin"], distribution))
    advice = f": pip install {distribution}" if cause is None else f", which {cause} leaves out; remove that"
    return f"the earlier run used it from plugin {record['plugin']} ({named}){advice}"
