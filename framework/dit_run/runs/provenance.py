"""Provenance of a run: arguments, versions, plugins, the state of the user's repository, the machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dit_run.system.cores import usable_cores

__all__ = ["LIBRARIES", "collect", "git_state", "versions"]

LIBRARIES = ("dit-run", "torch", "numpy", "diffusers", "transformers", "safetensors", "pillow")
"""Distributions whose version can change the results of a run."""


def collect(
    arguments: Sequence[str],
    plugins: Iterable[Mapping[str, Any]] = (),
    *,
    threads: int | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Return the provenance as plain JSON values, without heavy imports.

    ``plugins`` describes each plugin in use: distribution or file, version and digest. ``threads`` is the number of CPU
    threads per process.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": list(arguments),
        "working_directory": str(Path.cwd()),
        "versions": dict(versions()),
        "plugins": [dict(plugin) for plugin in plugins],
        "git": git_state(Path.cwd()),
        "machine": {
            "platform": platform.platform(),
            "processor": processor(),
            "cores": usable_cores(),
            "threads": threads,
            "processes": processes,
        },
    }


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the installed :data:`LIBRARIES`."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch and a flag for changed files of the repository that holds ``folder``; None without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "changed": bool(_git(folder, "status", "--porcelain")),
    }


def processor() -> str:
    """Return the model name of the processor, on which the last bits of a result depend."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
