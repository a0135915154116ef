"""Files that survive a crash: written beside, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dit_run.problems import DitRunError

__all__ = ["DiskFailed", "make_folder", "sync_file", "sync_folder", "translate_disk_failure", "write_atomic"]

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class DiskFailed(DitRunError):
    """A disk is full, fails or may not be written. What was committed before is untouched."""


@contextlib.contextmanager
def translate_disk_failure(folder: Path) -> Iterator[None]:
    """Turns a disk's OSError into DiskFailed; ``folder`` is named where the error names no file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise DiskFailed(
            f"{error.filename or folder}: {error.strerror}. Mend the disk or make room; the same command "
            "then continues from the last checkpoint"
        ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: after a crash at any point it holds all of the old bytes or all of the new.

    One writer at a time. Raises OSError; the old file is then still there and no temporary file is.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they survive a power loss. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk. Raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
