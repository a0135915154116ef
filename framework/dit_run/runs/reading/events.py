"""Events of a run, from what its folder keeps of them: starts, saves, notices, failures and the end."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dit_run.runs.reading.run_files import RunFiles

__all__ = ["Event", "checkpoint_bytes", "checkpoint_steps", "read_events"]

_CHECKPOINT = re.compile(r"step-(\d{1,12})", re.ASCII)
_NOTICE_BYTES = 64 * 2**10
"""Bytes at the end of the notices that are read: hundreds of them."""
_BAD_STEP = re.compile(r"bad-step-\d{1,6}\.json", re.ASCII)


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    kind: str
    """``started``, ``forked``, ``continued``, ``saved``, ``best``, ``failure``, ``bad_step``, ``notice`` (such as a
    skip or a retry), or how the run ended."""
    step: int | None
    time: float | None
    """Seconds since 1970; None if it is not known."""
    text: str = ""


def read_events(files: RunFiles) -> list[Event]:
    """Return the events of a run by time, those without a time by their step after the others."""
    found = [*_starts(files), *_saves(files), *_reports(files), *_bad_steps(files), *_end(files)]
    return sorted(found, key=lambda event: (event.time is None, event.time or 0.0, event.step or 0))


def checkpoint_steps(files: RunFiles) -> list[int]:
    """Return the steps of the complete checkpoints, in order."""
    steps = [int(match[1]) for name in files.names("checkpoints") if (match := _CHECKPOINT.fullmatch(name))]
    return sorted(step for step in steps if files.file("checkpoints", f"step-{step:08d}", "MANIFEST.json"))


def checkpoint_bytes(files: RunFiles) -> int | None:
    """Return the size of the newest complete checkpoint (bytes); None if there is none."""
    steps = checkpoint_steps(files)
    folder = files.folder("checkpoints", f"step-{steps[-1]:08d}") if steps else None
    try:
        return None if folder is None else sum(path.lstat().st_size for path in folder.iterdir())
    except OSError:
        return None


def _starts(files: RunFiles) -> Iterator[Event]:
    provenance = files.object("provenance.json")
    if not provenance:
        return
    origin = provenance.get("forked_from")
    if isinstance(origin, dict):
        yield Event(
            "forked", _step(origin), _seconds(provenance), str(origin.get("path") or origin.get("run_id") or "")
        )
    yield Event("started", 0, _seconds(provenance), _command(provenance))
    continued = provenance.get("continued")
    for start in continued if isinstance(continued, list) else []:
        if isinstance(start, dict):
            yield Event("continued", None, _seconds(start), _command(start))


def _saves(files: RunFiles) -> Iterator[Event]:
    best = files.object("status.json").get("best")
    best_step = _step(best) if isinstance(best, dict) else None
    for step in checkpoint_steps(files):
        manifest = files.file("checkpoints", f"step-{step:08d}", "MANIFEST.json")
        if manifest is not None:
            yield Event("best" if step == best_step else "saved", step, manifest.stat().st_mtime)


def _reports(files: RunFiles) -> Iterator[Event]:
    """Yield notices and failures; the notice of a failure gives the failure its time, and is left out."""
    notices = list(_notices(files))
    for failure in _failures(files):
        begin = f"{failure.text.partition(': ')[0]} failed "
        same = [notice for notice in notices if notice.step == failure.step and notice.text.startswith(begin)]
        notices = [notice for notice in notices if notice not in same]
        yield replace(failure, time=same[0].time) if same else failure
    yield from notices


def _failures(files: RunFiles) -> Iterator[Event]:
    failures = files.object("status.json").get("failures")
    for failure in failures if isinstance(failures, list) else []:
        if isinstance(failure, dict):
            times = failure.get("times", 1)
            text = f"{failure.get('work')}: {failure.get('error')}{f' ({times} times)' if times != 1 else ''}"
            yield Event("failure", _step(failure), None, text)


def _notices(files: RunFiles) -> Iterator[Event]:
    """Yield the last notices; a damaged line is left out."""
    for line in files.tail("notices.jsonl", _NOTICE_BYTES).splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            yield Event("notice", _step(values), _seconds(values), str(values.get("text", "")))


def _bad_steps(files: RunFiles) -> Iterator[Event]:
    for path in (files.file(name) for name in files.names() if _BAD_STEP.fullmatch(name)):
        if path is None:
            continue
        report = files.object(path.name)
        samples = report.get("samples")
        keys = ", ".join(map(str, samples[:8])) if isinstance(samples, list) else ""
        text = f"loss {report.get('loss')}, gradient norm {report.get('grad_norm')}; samples: {keys}"
        yield Event("bad_step", _step(report), path.stat().st_mtime, text)


def _end(files: RunFiles) -> Iterator[Event]:
    status = files.object("status.json")
    if status.get("state") in ("interrupted", "finished", "failed"):
        yield Event(status["state"], _step(status), _seconds(status), str(status.get("reason") or ""))


def _command(start: Mapping[str, Any]) -> str:
    words = start.get("arguments")
    return shlex.join(["dit-run", *map(str, words)]) if isinstance(words, list) and words else ""


def _step(values: Mapping[str, Any]) -> int | None:
    step = values.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _seconds(values: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(values.get("time"))).timestamp()
    except (ValueError, OverflowError):
        return None
