"""Data of runs that the page shows, as plain values: the same for the server and for a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dit_run.runs.reading.events import checkpoint_bytes, checkpoint_steps, read_events
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import SampleGrid
from dit_run.runs.reading.summary import RunSummary
from dit_run.view.library import RunLibrary, run_id

__all__ = ["run_details", "run_row", "samples"]


def run_row(files: RunFiles, summary: RunSummary) -> dict[str, Any]:
    """Return a run as one row of the list of runs."""
    return {
        **asdict(summary),
        "id": run_id(files),
        "folder": str(files.path.parent),
        "scores": summary.scores,
        "latest": {name: value for name, value in summary.latest.items() if math.isfinite(value)},
    }


def run_details(library: RunLibrary, files: RunFiles) -> dict[str, Any]:
    """Return all of a run but its curves and its config."""
    return {
        **run_row(files, library.summary(files)),
        "samples": samples(library.grids(files)),
        "events": [asdict(event) for event in read_events(files)],
        "checkpoints": checkpoint_steps(files),
        "global_batch": _global_batch(files),
        "check": files.file("check.png") is not None,
        "plan": files.object("plan.json"),
        "checkpoint_bytes": checkpoint_bytes(files),
        "provenance": _provenance(files),
    }


def samples(grids: Sequence[SampleGrid]) -> dict[str, Any]:
    """Return the prompts of the newest grid, and for each step the place of each prompt's image in its grid.

    The place is -1 where a step has no image of a prompt. Without places, only whole grids can be shown.
    """
    if not grids:
        return {"prompts": [], "grids": []}
    prompts = grids[-1].prompts if grids[-1].box(0) is not None else ()
    return {
        "prompts": list(prompts),
        "grids": [{"step": grid.step, "cells": _places(prompts, grid), "size": grid.size} for grid in grids],
    }


def _places(prompts: Sequence[str], grid: SampleGrid) -> list[int]:
    if grid.box(0) is None:
        return [-1] * len(prompts)
    if tuple(prompts) == grid.prompts:
        return list(range(len(prompts)))
    places: dict[str, int] = {}
    for index, prompt in enumerate(grid.prompts):
        places.setdefault(prompt, index)
    return [places.get(prompt, -1) for prompt in prompts]


def _global_batch(files: RunFiles) -> int:
    training = files.section("training")
    machine = files.object("provenance.json").get("machine")
    processes = machine.get("processes", 1) if isinstance(machine, Mapping) else 1
    factors = [training.get("batch_size", 1), training.get("gradient_accumulation_steps", 1), processes]
    return math.prod(factor for factor in factors if isinstance(factor, int) and 0 < factor < 2**31)


def _provenance(files: RunFiles) -> dict[str, Any]:
    """Return what the page shows of the provenance."""
    found = files.object("provenance.json")
    return {name: found[name] for name in ("versions", "git", "machine", "working_directory") if name in found}
