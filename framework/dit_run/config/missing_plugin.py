"""Types that nothing offers any more: the folder of the run that used one remembers whose it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dit_run.config.keys import KINDS_BY_SECTION, key_name
from dit_run.config.nodes import MapNode, find, plain
from dit_run.problems import Problem
from dit_run.registry.registry import Registry
from dit_run.settings import TrainingOptions

__all__ = ["with_former_plugin"]


def with_former_plugin(problem: Problem, root: MapNode, registry: Registry) -> Problem:
    """An ``unknown-type`` problem with the plugin that the run in ``training.output_dir`` had the type from.

    As it is where there is no such run, and where the plugin is there but fails to load: that is told anyway.
    """
    if problem.code != "unknown-type":
        return problem
    section, type_ = problem.path[:-1], plain(find(root, problem.path)[1])
    wanted = {"section": key_name(section), "component": f"{KINDS_BY_SECTION[str(section[0])]}.{type_}"}
    for record in _records(root):
        if wanted.items() <= record.items() and all(record["plugin"] != plugin.name for plugin in registry.failed):
            return dataclasses.replace(problem, help=(_advice(record), *problem.help))
    return problem


def _records(root: MapNode) -> list[Mapping[str, Any]]:
    from dit_run.runs.run_folder import RunFolder  # only a run that cannot start needs it

    entry, node = find(root, ("training", "output_dir"))
    folder = plain(node) if entry and entry.node is node else None
    return RunFolder(Path(folder if isinstance(folder, str) else TrainingOptions.output_dir)).plugin_records()


def _advice(record: Mapping[str, Any]) -> str:
    if not record.get("distribution"):
        return f"this run had it from the file {record.get('source')}: name it, or the run's copy of it, under plugins:"
    version = f" {record['version']}" if record.get("version") else ""
    distribution = record["distribution"]
    return f"this run had it from plugin {record['plugin']} ({distribution}{version}): pip install {distribution}"
