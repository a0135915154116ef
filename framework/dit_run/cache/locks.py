"""Locks of a folder of the cache: one builder at a time, and no removal while a process uses it.

The system releases a lock when its process ends in any way. On a file system without locks, or one that cannot be
written, there is no lock and no process is excluded.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Waiting", "building", "hold", "looking", "unused"]

Waiting = Callable[[int], None]
"""Called with the number of tries while another process holds the lock; may raise."""

_BUILD, _USE = "lock", "in-use"
_RETRY_SECONDS = 0.1

_held: dict[Path, int] = {}


@contextlib.contextmanager
def building(folder: Path, waiting: Waiting) -> Iterator[None]:
    """Be the only builder of a folder."""
    descriptor = _opened(folder / _BUILD)
    if descriptor is None:
        yield
        return
    try:
        _lock(descriptor, fcntl.LOCK_EX, waiting)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def looking(folder: Path, waiting: Waiting) -> Iterator[bool]:
    """Lock a folder, which may be complete, to look at it.

    Yields True to a process that is alone and may build. Another one waits until it is done; then all that waited look
    together, and get False.
    """
    descriptor = _opened(folder / _BUILD)
    if descriptor is None:
        yield True
        return
    try:
        alone = _locked(descriptor, fcntl.LOCK_EX)
        if not alone:
            _lock(descriptor, fcntl.LOCK_SH, waiting)
        yield alone
    finally:
        os.close(descriptor)


def hold(folder: Path, waiting: Waiting) -> bool:
    """Use a folder until this process ends; its data loading workers may open files there at any time.

    Returns False if the folder was removed in the meantime.
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
    """Yield True if no process uses a folder, without waiting. New users wait until the context ends."""
    descriptor = _opened(folder / _USE)
    if descriptor is None:
        yield True
        return
    try:
        yield _locked(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    """Return a descriptor; None if the file is missing and cannot be created. A read-only file works, too."""
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
    """Return False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        pass
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Return True if the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
