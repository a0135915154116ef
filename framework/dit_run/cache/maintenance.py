"""Maintenance of the cache: list its spaces, verify them, and collect garbage."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.cache.locks import unused
from dit_run.cache.records import Records
from dit_run.cache.shards import DamagedShard, Shard, write_shard
from dit_run.cache.space import Space
from dit_run.cache.space_index import indexes
from dit_run.data.kept_columns import remove_unused

__all__ = ["SpaceReport", "Swept", "Verified", "info", "spaces", "sweep", "verify"]

_KINDS = ("latents", "captions")
_LEFTOVER_SECONDS = 3600.0
_GONE = ".gone"


@dataclass(frozen=True)
class SpaceReport:
    """A description of one space."""

    folder: Path
    kind: str
    settings: dict[str, Any]
    records: int
    size: int
    """Size on disk (bytes)."""
    last_used: float
    """Time of last use (seconds since the epoch)."""


@dataclass(frozen=True)
class Verified:
    """The result of verifying all records."""

    records: int
    damaged: int
    broken_shards: tuple[str, ...]


@dataclass(frozen=True)
class Swept:
    """The result of garbage collection."""

    spaces: int
    records: int
    freed: int
    """Freed space (bytes)."""
    in_use: tuple[SpaceReport, ...]
    """Spaces that were kept because a run or a builder uses them."""


def spaces(root: Path) -> Iterator[Space]:
    """Yield all spaces of a cache."""
    for kind in _KINDS:
        for description in sorted((root / kind).glob("[!.]*/space.json")):
            yield Space(description.parent)


def info(root: Path) -> list[SpaceReport]:
    """Return a report on each space of a cache, last used first."""
    parts = []
    for space in spaces(root):
        settings = space.describe()
        kind = str(settings.pop("kind", space.folder.parent.name))
        count = len(Records.open(space))
        parts.append(SpaceReport(space.folder, kind, settings, count, _size(space.folder), space.last_used))
    return sorted(parts, key=lambda part: -part.last_used)


def verify(root: Path) -> Verified:
    """Read and verify every record.

    Damaged records are noted: they are encoded again when they are needed, and count as damaged until :func:`sweep`
    removes them.
    """
    count = damaged = 0
    broken: list[str] = []
    for space in spaces(root):
        noted = space.damaged()
        for path in space.shards():
            try:
                shard = Shard(path)
            except DamagedShard as error:
                broken.append(str(error))
                _remove_indexes(space)
                continue
            known = {row for name, row in noted if name == path.name and row < len(shard)}
            found = set(shard.damaged()) - known
            if found:
                space.note_damage(path.name, sorted(found))
            count += len(shard)
            damaged += len(known | found)
    return Verified(count, damaged, tuple(broken))


def sweep(root: Path, *, unused_days: float, max_bytes: int | None = None) -> Swept:
    """Remove spaces that were unused for ``unused_days`` days, then the longest unused ones beyond ``max_bytes``.

    Also removes damaged records, broken shards and remains of killed builders everywhere, and indexes of tar and
    parquet files that were unused as long. What is in use stays as it is. Raises OSError.
    """
    parts, now = info(root), time.time()
    total = sum(part.size for part in parts)
    freed, records = _remove_leftovers(root) + remove_unused(root, now - unused_days * 86400), 0
    gone: list[SpaceReport] = []
    in_use: list[SpaceReport] = []
    for part in reversed(parts):
        space = Space(part.folder)
        with unused(part.folder) as free:
            if not free or space.last_used > part.last_used:
                in_use.append(part)
            elif now - part.last_used > unused_days * 86400 or (max_bytes is not None and total > max_bytes):
                _remove(part.folder)
                gone.append(part)
                total -= part.size
            else:
                records += _clean(space)
                freed += part.size - _size(part.folder)
    removed, size = sum(part.records for part in gone), sum(part.size for part in gone)
    return Swept(len(gone), removed + records, size + freed, tuple(in_use))


def _remove(folder: Path) -> None:
    """Remove a folder. It is renamed first, so that a new user creates a new one."""
    going = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{_GONE}")
    folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def _remove_leftovers(root: Path) -> int:
    """Remove what interrupted removals left; return its size in bytes."""
    folders = [folder for kind in _KINDS for folder in (root / kind).glob(f".*{_GONE}")]
    size = sum(_size(folder) for folder in folders)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return size


def _clean(space: Space) -> int:
    """Remove remains, broken shards and damaged records of an unused space; return the number of removed records."""
    for leftover in space.folder.glob(".*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                leftover.unlink()
    damaged = space.damaged()
    removed = sum(_clean_shard(space, path, damaged) for path in space.shards())
    (space.folder / "damaged.txt").unlink(missing_ok=True)
    _remove_indexes(space, but=Records.open(space).index.path)
    return removed


def _remove_indexes(space: Space, but: Path | None = None) -> None:
    """Remove the indexes of a space, ``but`` one; where that is impossible, the shards refute a wrong one."""
    for path in indexes(space.folder):
        if path != but:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _clean_shard(space: Space, path: Path, damaged: set[tuple[str, int]]) -> int:
    """Write a shard again without its damaged records; runs that have it open are not affected."""
    try:
        shard = Shard(path)
    except DamagedShard:
        path.unlink(missing_ok=True)
        return 0
    rows = [row for row in range(len(shard)) if (path.name, row) not in damaged]
    whole = [(row, values) for row in rows if shard.holds(row, values := shard.values(row))]
    if len(whole) == len(shard):
        return 0
    if whole:
        keys = [shard.keys[row].tobytes() for row, _ in whole]
        write_shard(
            path.with_name(f"{path.stem[:24]}{len(whole):08x}.safetensors"),
            keys,
            [values for _, values in whole],
            shard.dtype,
        )
    path.unlink(missing_ok=True)
    return len(shard) - len(whole)


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a builder has renamed its file
            size += path.lstat().st_size if path.is_file() else 0
    return size
