"""Kept columns: arrays that are made once, kept in a file of the user's cache, and mapped into memory afterwards."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dit_run.data.column_files import Columns
from dit_run.digests import cache_home, combined
from dit_run.system.durable import make_folder
from dit_run.system.file_locks import is_locked, locked, share

__all__ = ["KEPT_FROM", "is_large", "kept", "known", "remove_unused"]

KEPT_FROM = 10_000
"""Number of samples from which on results about all of them are kept."""

_FOLDER = "indexes"
_IN_USE = "in-use"


def is_large(count: int) -> bool:
    """Return True if results about this number of samples are worth a file."""
    return count >= KEPT_FROM


def known(identity: Sequence[Any], *, verified: bool = False) -> Columns | None:
    """Return the columns that are kept for plain values that name their content; None if there are none.

    ``verified`` reads them once: damaged ones count as missing.
    """
    file = _file(identity)
    return None if file is None else _read(file, verified)


def kept(
    identity: Sequence[Any],
    build: Callable[[], Columns],
    *,
    verified: bool = False,
    lasting: Callable[[Columns], bool] = lambda columns: True,
) -> Columns:
    """Return the kept columns; of several processes of a run, one builds missing ones. Raises as ``build`` does.

    ``verified`` is that of :func:`known`; a warning names a file that cannot be used, whose columns are built
    again. Columns that are not ``lasting`` are returned and not kept.
    """
    file = _file(identity)
    if file is None:
        return build()
    with contextlib.suppress(OSError):
        make_folder(file.parent)
    with locked(file.with_suffix(".lock")):
        columns = _read(file, verified)
        if columns is None:
            if file.exists():
                logging.getLogger("dit_run").warning("%s is damaged or of another version; it is built again", file)
            columns = build()
            if not lasting(columns):
                return columns
            with contextlib.suppress(OSError):  # the next start builds them again
                columns = columns.stored(file)
    return columns


def remove_unused(home: Path, before: float) -> int:
    """Remove columns that no process used since ``before`` (seconds since the epoch); return their size (bytes).

    Nothing is removed while any process uses some: its workers open them by name. Raises OSError.
    """
    folder = home / _FOLDER
    if not folder.is_dir() or is_locked(folder / _IN_USE):
        return 0
    size = 0
    for file in [*folder.glob("*.index"), *folder.glob(".*.partial")]:
        with contextlib.suppress(FileNotFoundError):  # removed in the meantime
            status = file.stat()
            if max(status.st_atime, status.st_mtime) < before:
                file.unlink()
                file.with_suffix(".lock").unlink(missing_ok=True)
                size += status.st_size
    return size


def _read(file: Path, verified: bool) -> Columns | None:
    """Return the columns in a file and count them as used now; None if there are none."""
    share(file.with_name(_IN_USE))
    columns = Columns.read(file, verified=verified)
    if columns is not None:
        with contextlib.suppress(OSError):  # the time of the last access, which a file system need not keep itself
            os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    return columns


def _file(identity: Sequence[Any]) -> Path | None:
    home = cache_home()
    return None if home is None else home / _FOLDER / f"{combined(identity)[:32]}.index"
