"""Kept columns: arrays that are made once, kept in a file of the user's cache, and mapped into memory afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dit_run.data.column_files import Columns
from dit_run.digests import cache_home, combined
from dit_run.system.durable import make_folder
from dit_run.system.file_locks import locked

__all__ = ["kept", "known"]


def known(identity: Sequence[Any]) -> Columns | None:
    """Return the columns that are kept for plain values that name their content; None if there are none."""
    file = _file(identity)
    return None if file is None else Columns.read(file)


def kept(identity: Sequence[Any], build: Callable[[], Columns]) -> Columns:
    """Return the kept columns; of several processes of a run, one builds missing ones. Raises as ``build`` does."""
    file = _file(identity)
    if file is None:
        return build()
    with contextlib.suppress(OSError):
        make_folder(file.parent)
    with locked(file.with_suffix(".lock")):
        columns = Columns.read(file)
        if columns is None:
            columns = build()
            with contextlib.suppress(OSError):  # the next start builds them again
                columns = columns.stored(file)
    return columns


def _file(identity: Sequence[Any]) -> Path | None:
    home = cache_home()
    return None if home is None else home / "indexes" / f"{combined(identity)[:32]}.index"
