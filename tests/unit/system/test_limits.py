"""Limits: each is named with its remedy."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from dit_run.system.limits import LimitReached, describe_limit, limit_of, require_tasks


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n 1024"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n 1024"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "docker run --pids-limit"),
        (RuntimeError("can't start new thread"), "OMP_NUM_THREADS=1"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR to a folder"),
        (OSError("AF_UNIX path too long"), "set TMPDIR to a shorter one"),
    ],
    ids=["files", "files in a message", "processes", "threads", "temporary folder", "long temporary folder"],
)
def test_a_limit_is_named_with_its_remedy(error: Exception, told: str) -> None:
    assert told in str(limit_of(error))
    assert describe_limit(error) == limit_of(error)


def test_other_errors_are_no_limits() -> None:
    assert limit_of(OSError(errno.ENOENT, "No such file or directory")) is None
    assert limit_of(ValueError("start")) is None


def test_a_full_folder_for_temporary_files_is_named() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/pymp-1")
    assert describe_limit(error).endswith(
        "No space left on device: '/tmp/pymp-1'; set TMPDIR to a folder with space that can be written"
    )


def test_threads_that_start_are_ended_again() -> None:
    before = threading.active_count()
    require_tasks(5)
    assert threading.active_count() == before


def test_threads_that_do_not_start_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    start, before = threading.Thread.start, threading.active_count()

    def limited(thread: threading.Thread) -> None:
        if threading.active_count() >= before + 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(LimitReached, match="lets this process start 3 more threads, and 5 are needed"):
        require_tasks(5)
    assert threading.active_count() == before
