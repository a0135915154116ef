"""Locks of a folder of the cache: one builder at a time, and nothing removed while somebody uses it.

The system releases them when a process ends, however it ends. Where there can be none, on a file system that has no
locks or takes no files, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Waiting", "building", "hold", "unused"]

Waiting = Callable[[int], None]
"""Called with the number of tries while another has the lock; may raise."""

_BUILD, _USE = "lock", "in-use"
_RETRY_SECONDS = 0.1

_held: dict[Path, int] = {}


@contextlib.contextmanager
def building(folder: Path, waiting: Waiting) -> Iterator[None]:
    """Be its only builder."""
    descriptor = _opened(folder / _BUILD)
    if descriptor is None:
        yield
        return
    try:
        _lock(descriptor, fcntl.LOCK_EX, waiting)
        yield
    finally:
        os.close(descriptor)


def hold(folder: Path, waiting: Waiting) -> bool:
    """Use a folder until this process ends: whoever uses it opens files there at any time, loading processes too.

    Returns False where it was removed meanwhile.
    """
    known = _held.get(folder)
    if known is not None:
        if _is(known, folder / _USE):
            return True
        os.close(_held.pop(folder))
    descriptor = _opened(folder / _USE)
    if descriptor is None:
        return folder.is_dir()
    try:
        _lock(descriptor, fcntl.LOCK_SH, waiting)
    except BaseException:
        os.close(descriptor)
        raise
    if not _is(descriptor, folder / _USE):
        os.close(descriptor)
        return False
    _held[folder] = descriptor
    return True


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody uses a folder, found out without waiting. While entered, those who come to use it wait."""
    descriptor = _opened(folder / _USE)
    if descriptor is None:
        yield True
        return
    try:
        yield _locked(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """None where the file is not there and cannot be made. Another's, or one on a read-only disk, is locked as well."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC, 0o666)
    return None


def _lock(descriptor: int, kind: int, waiting: Waiting) -> None:
    for tries in itertools.count(1):
        if _locked(descriptor, kind):
            return
        waiting(tries)
        time.sleep(_RETRY_SECONDS)


def _locked(descriptor: int, kind: int) -> bool:
    """False while another has it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        pass
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
