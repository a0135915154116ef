"""Limits of the system: what ran out when an operation failed, and how it is raised."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
import threading

from dit_run.problems import DitRunError
from dit_run.system.cores import usable_cores

__all__ = ["LimitReached", "describe_limit", "limit_of", "require_start", "require_tasks"]

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


_OWN_THREADS = 2
"""Threads that a command starts apart from those of libraries (number)."""


class LimitReached(DitRunError):
    """The system refuses what a run needs; the message names the limit, the need and the remedy."""


def limit_of(error: BaseException) -> str | None:
    """Return which limit an error comes from and how it is raised; None for other errors."""
    number, text = error.errno if isinstance(error, OSError) else None, str(error)
    if number in (errno.EMFILE, errno.ENFILE) or "ancdata" in text:
        return (
            f"this process may open only {_limit(resource.RLIMIT_NOFILE)} files at a time; raise the limit with "
            "ulimit -n 1024, or docker run --ulimit nofile=1024"
        )
    if number == errno.EAGAIN or "start new thread" in text:
        return f"the system allows no more processes or threads; {_more_tasks()}"
    if "No usable temporary directory" in text:
        return "there is no folder for temporary files; set TMPDIR to a folder that can be written"
    if "AF_UNIX path too long" in text:
        return "the path of the folder for temporary files is too long; set TMPDIR to a shorter one, such as /tmp"
    return None


def describe_limit(error: BaseException) -> str:
    """Return why no process could be started: the limit and how it is raised, or the error's own text."""
    if limit := limit_of(error):
        return limit
    if isinstance(error, EOFError | ConnectionError):
        return f"the process that starts them ended; {_more_tasks()}"
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"{error}; set TMPDIR to a folder with space that can be written"
    return str(error) or type(error).__name__


def require_start() -> None:
    """Raise LimitReached where the system is too narrow for any work with torch, before torch is imported.

    Its libraries start a thread per core and need a folder for temporary files.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise LimitReached(describe_limit(error)) from error
    asked = os.environ.get("OMP_NUM_THREADS", "")
    require_tasks((int(asked) if asked.isdecimal() else usable_cores()) + _OWN_THREADS)


def require_tasks(count: int) -> None:
    """Try to start this many threads at a time, and end them. Raises LimitReached.

    Libraries for numbers end the process, or print pages of errors, where one of their threads cannot start.
    """
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, daemon=True) for _ in range(count)]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise LimitReached(
            f"the system lets this process start {len(started)} more threads, and {count} are needed; {_more_tasks()}"
        ) from error
    finally:
        release.set()
        for thread in started:
            thread.join()


def _more_tasks() -> str:
    return (
        f"raise the limit of processes (ulimit -u, now {_limit(resource.RLIMIT_NPROC)}, or docker run --pids-limit) or "
        "the memory, or use fewer: training.num_workers=0, cache.num_workers=0 and OMP_NUM_THREADS=1"
    )


def _limit(kind: int) -> str:
    soft, _ = resource.getrlimit(kind)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
