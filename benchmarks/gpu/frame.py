"""The frame of the measurements: parts in processes of their own, whose values are kept in files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from .trial import ROOT, Part, Parts, Trial, Values

__all__ = ["BUDGET", "measured"]

BUDGET = 480.0
"""Time of all parts on a GPU (seconds)."""
SLACK = 10
"""Factor on the time limits of a tiny trial: a machine without a GPU may be slow, and its numbers do not count."""
LEAST = 5.0
"""Time that is too short for any part (seconds)."""


def measured(
    parts: Parts,
    folder: Path,
    *,
    only: Collection[str] | None = None,
    tiny: bool = False,
    again: bool = False,
    budget: float = BUDGET,
) -> Iterator[tuple[str, Values]]:
    """Yield the values of each part, measured now or before; a part without values is tried once more.

    With ``only``, other parts are not measured now.
    """
    end = time.monotonic() + budget * (SLACK if tiny else 1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        file = folder / f"{name}.json"
        if (only is None or name in only) and (again or not _is_measured(file)):
            seconds = min(part.seconds * (SLACK if tiny else 1), end - time.monotonic())
            _write(file, _measure(name, part, Trial(seconds, tiny), folder / f"{name}.log"))
        if file.exists():
            yield name, json.loads(file.read_text())


def _is_measured(file: Path) -> bool:
    return file.exists() and not json.loads(file.read_text()).keys() & {"error", "skipped"}


def _write(file: Path, values: Values) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(values))
    partial.replace(file)


def _measure(name: str, part: Part, trial: Trial, log: Path) -> Values:
    if missing := [package for package in part.needs if importlib.util.find_spec(package) is None]:
        return {"skipped": f"needs {', '.join(missing)}, which is not installed"}
    if trial.seconds < LEAST:
        return {"error": "no time was left"}
    print(f"{name} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        values = _apart(name, trial, log)
    except subprocess.TimeoutExpired:
        values = {"error": f"took longer than {trial.seconds:.0f} s"}
    return {**values, "seconds": round(time.monotonic() - began, 1)}


def _apart(name: str, trial: Trial, log: Path) -> Values:
    """Measure a part in a process of its own, which ends with all that it started. Its messages go to ``log``."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--seconds", f"{trial.seconds:.0f}"]
    command += ["--tiny"] if trial.tiny else []
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as messages:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=messages, text=True, process_group=0
        )
        try:
            printed, _ = process.communicate(timeout=trial.seconds)
        finally:
            _end(process)
    if process.returncode:
        last = log.read_text().strip().splitlines() or [f"ended with status {process.returncode}"]
        return {"error": last[-1][:300]}
    values: Values = json.loads(printed.strip().splitlines()[-1])
    return values


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those that it started, if any are left; they have a moment to remove their files."""
    for sent in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
