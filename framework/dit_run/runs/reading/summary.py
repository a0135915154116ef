"""The summary of a run: its state, progress, best value and parts, from the small files of its folder."""

from __future__ import annotations

import math
import os
import shlex
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dit_run.runs.reading.metrics_tail import MetricsTail, read_tail
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import grid_steps

__all__ = ["RunSummary", "is_gone", "summarize"]

STATES = ("running", "interrupted", "finished", "failed")
_OTHER_GROUPS = {"validation", "probe", "loss", "share", "profile"}
"""First parts of the names of values that are no scores."""


@dataclass(frozen=True)
class RunSummary:
    """A run in one row."""

    path: str
    name: str
    """Path below the folder that was searched."""
    state: str
    """``running``, ``interrupted``, ``finished``, ``failed``, or ``killed``: it says that it runs, and does not."""
    reason: str
    """Why it failed or was interrupted, and what to do; empty otherwise."""
    step: int
    total_steps: int | None
    """None if the length of the run is not known yet."""
    seconds_left: float | None
    """For a running run, from the pace of its last steps."""
    seconds_per_step: float | None
    """Median of the last steps."""
    best_loss: float | None
    """Lowest validation loss at a saved step."""
    best_step: int | None
    dataset: str
    model: str
    device: str
    """The graphics card, or the processor."""
    started: float
    """Seconds since 1970; 0 if it is not known."""
    updated: float
    """When the run last logged or wrote its status, in seconds since 1970; 0 if it is not known."""
    samples_step: int | None
    """Step of the newest grid of samples."""
    latest: Mapping[str, float] = field(default_factory=dict)
    """The last value of everything that was logged near the end of ``metrics.jsonl``."""

    def row(self) -> dict[str, Any]:
        """Return all fields and all latest values as one flat dict."""
        values = asdict(self)
        latest = values.pop("latest")
        return {**values, **{name: value for name, value in latest.items() if name not in values}}

    @property
    def scores(self) -> dict[str, float]:
        """Latest values of metrics."""
        return {
            name: value
            for name, value in self.latest.items()
            if "/" in name and name.split("/")[0] not in _OTHER_GROUPS
        }


def summarize(files: RunFiles) -> RunSummary:
    """Return the summary of a run, whatever is missing or damaged in its folder."""
    status, provenance = files.object("status.json"), files.object("provenance.json")
    metrics = files.file("metrics.jsonl")
    tail = read_tail(metrics, ("validation/loss", *_metric_types(files)))
    step = max(_whole(status.get("step")) or 0, tail.step)
    state = _state(status)
    total = _total_steps(files, tail)
    best = _mapping(status.get("best"))
    steps = grid_steps(files)
    return RunSummary(
        path=str(files.path),
        name=files.name,
        state=state,
        reason=_reason(state, status, files),
        step=step,
        total_steps=total,
        seconds_left=_left(state, step, total, tail),
        seconds_per_step=tail.seconds_per_step,
        best_loss=_number(best.get("loss")),
        best_step=_whole(best.get("step")),
        dataset=_dataset(files),
        model=str(files.section("model").get("type", "")),
        device=_device(provenance),
        started=_seconds(provenance.get("time")),
        updated=max(_seconds(status.get("time")), _number(tail.time) or 0.0),
        samples_step=steps[-1] if steps else None,
        latest=tail.latest,
    )


def _metric_types(files: RunFiles) -> list[str]:
    metrics = files.config.get("metrics")
    listed = metrics if isinstance(metrics, list) else []
    return [f"{item['type']}/" for item in listed if isinstance(item, dict) and isinstance(item.get("type"), str)]


def _state(status: Mapping[str, Any]) -> str:
    state = status.get("state")
    if state not in STATES:
        return "interrupted"
    return "killed" if state == "running" and is_gone(status) else str(state)


def is_gone(status: Mapping[str, Any]) -> bool:
    """Return True if the process that wrote a status ran on this machine and does not exist any more."""
    pid = _whole(status.get("pid"))
    if pid is None or pid <= 0 or status.get("host") != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _reason(state: str, status: Mapping[str, Any], files: RunFiles) -> str:
    if state == "killed":
        return (
            f"the process ended without a report; continue the run with: dit-run train {shlex.quote(str(files.path))}"
        )
    reason = status.get("reason")
    return reason if isinstance(reason, str) and state in ("failed", "interrupted") else ""


def _total_steps(files: RunFiles, tail: MetricsTail) -> int | None:
    """Return the length of a run: ``max_steps``, or what the epochs amount to by the logged share of an epoch."""
    training = files.section("training")
    limits = [_whole(training.get("max_steps"))]
    epochs, done = _number(training.get("num_epochs")), _number(tail.latest.get("epoch"))
    if epochs and done and tail.step:
        limits.append(round(epochs * tail.step / done))
    known = [limit for limit in limits if limit]
    return min(known, default=None)


def _left(state: str, step: int, total: int | None, tail: MetricsTail) -> float | None:
    if state != "running" or total is None or tail.seconds_per_step is None:
        return None
    return max(0, total - step) * tail.seconds_per_step


def _dataset(files: RunFiles) -> str:
    data = files.section("data")
    place = data.get("dataset_path") or data.get("dataset_name") or ""
    name = Path(place).name if isinstance(place, str) else ""
    kind = str(data.get("type", ""))
    return f"{kind} {name}".strip() if name != kind else kind


def _device(provenance: Mapping[str, Any]) -> str:
    values = _mapping(provenance.get("machine"))
    device = values.get("graphics_card") or values.get("processor") or ""
    count = _whole(values.get("processes")) or 1
    return f"{count} × {device}" if count > 1 else str(device)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if valid else None  # type: ignore[arg-type]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _seconds(value: object) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
