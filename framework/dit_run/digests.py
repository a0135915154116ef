"""Digests of files, of which the fingerprints of weights are made."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["cache_home", "combined", "file_digest", "is_settled"]

_REMEMBERED_BYTES = 8 << 20
_SETTLED_NS = 2_000_000_000
Stat = tuple[int, int, int, int]


def cache_home() -> Path | None:
    """Return the default folder of all caches: ``$XDG_CACHE_HOME/dit-run``, or ``~/.cache/dit-run``.

    None for a user without a home folder, as a bare user id in a container can be.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():
        return Path(base) / "dit-run"
    home = os.path.expanduser("~")  # noqa: PTH111 (pathlib's raises where there is none)
    return Path(home) / ".cache" / "dit-run" if Path(home).is_absolute() else None


def combined(parts: Iterable[Any]) -> str:
    """Return the hex SHA-256 of plain values (JSON) in their order."""
    text = json.dumps(list(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's content.

    The digest of a large file is kept under :func:`cache_home` and used as long as size, mtime, ctime and inode of the
    file stay the same. It is kept only if the file did not change for two seconds, so that no later write can have the
    same times.
    """
    path = path.resolve()
    return _digest(path, file_stat(path))


def file_stat(path: Path) -> Stat:
    """Return size, mtime_ns, ctime_ns and inode, which show quickly that a file did not change."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def is_settled(stat: Stat, now: int) -> bool:
    """Return True if a file did not change for two seconds before ``now`` (ns since the epoch).

    Every write after ``now`` then changes its stat, although file systems round times.
    """
    return now - max(stat[1], stat[2]) > _SETTLED_NS


@functools.lru_cache(maxsize=256)
def _digest(path: Path, stat: Stat) -> str:
    if stat[0] < _REMEMBERED_BYTES:
        return _hash(path)
    home = cache_home()
    if home is None:
        return _hash(path)
    memory = home / "digests" / f"{combined([str(path)])[:32]}.json"
    digest = _recall(memory, stat) or _hash(path)
    if is_settled(stat, time.time_ns()):
        _remember(memory, stat, digest)
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recall(memory: Path, stat: Stat) -> str | None:
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.get("stat") != list(stat):
        return None
    digest = known.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _remember(memory: Path, stat: Stat, digest: str) -> None:
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}.tmp")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"stat": stat, "sha256": digest}))
        temporary.replace(memory)
    except OSError:
        temporary.unlink(missing_ok=True)
