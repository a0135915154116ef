"""Durable files: written to a temporary name, synced, then renamed, so that they survive a crash."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dit_run.problems import DitRunError

__all__ = [
    "DiskFailed",
    "make_folder",
    "replacing",
    "sync_file",
    "sync_folder",
    "translate_disk_failure",
    "write_atomic",
]

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class DiskFailed(DitRunError):
    """A disk is full, read-only or failing. Files that were committed before are unchanged."""


@contextlib.contextmanager
def translate_disk_failure(folder: Path) -> Iterator[None]:
    """Translate OSErrors of a disk into DiskFailed; ``folder`` is named if the error names no file."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise DiskFailed(
            f"{error.filename or folder}: {error.strerror}. Repair the disk or free space; the same command "
            "then continues from the last checkpoint"
        ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace the content of ``path`` by ``data``. After a crash at any point the file holds all old or all new bytes.

    Allows one writer at a time. Raises OSError; then the old file is unchanged and no temporary file is left.
    """
    with replacing(path, path.with_name(f".{path.name}.partial")) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, partial: Path) -> Iterator[BinaryIO]:
    """Yield the new file ``partial``, which replaces ``path`` at the end of the context, as :func:`write_atomic` does.

    Writers that may write at the same time need different ``partial``.
    """
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a folder and its parents so that they survive a power loss. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force the bytes of a file to the disk. Raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Force the file names in a folder to the disk. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
