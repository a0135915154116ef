"""Where a run comes from: arguments, versions, plugins, the state of the user's repository, the machine."""

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
"""Distributions whose version can change what a run computes."""


def collect(
    arguments: Sequence[str],
    plugins: Iterable[Mapping[str, Any]] = (),
    *,
    threads: int | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Plain JSON values; imports nothing heavy.

    ``plugins`` says for each plugin used its distribution or file, version and digest; ``threads`` is the number of
    CPU threads of a process.
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
    """Versions of Python and of :data:`LIBRARIES`; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and whether files are changed, of the repository that holds ``folder``; None without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "changed": bool(_git(folder, "status", "--porcelain")),
    }


def processor() -> str:
    """The processor's model name, on which the last bits of a result depend."""
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
