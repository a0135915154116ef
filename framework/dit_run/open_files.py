"""How many files a process may have open."""

from __future__ import annotations

import contextlib
import resource

__all__ = ["allow_many_open_files"]

_MANY = 65536


def allow_many_open_files() -> None:
    """Let this process have many files open, 65,536 where the system's hard limit allows that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(_MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
