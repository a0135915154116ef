"""Files that Weights & Biases writes offline: LevelDB's log format, with a protocol buffer in each record."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["last_step", "records"]

_BLOCK, _HEADER, _FILE_HEADER = 32768, 7, 7
"""Sizes (bytes)."""
_FULL, _LAST = 1, 4
"""Kinds of fragments that end a record."""


def records(folder: Path, run_id: str) -> Iterator[Any]:
    """Yield the records of all processes of a run from its ``wandb`` folder, in the order in which they began.

    The end of a file that a kill cut off is left out.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    for path in sorted(folder.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")):
        for data in _fragments_joined(path.read_bytes()):
            yield Record.FromString(data)


def last_step(folder: Path, run_id: str) -> int:
    """Return the last step in the files of a run; -1 for none."""
    return max((each.history.step.num for each in records(folder, run_id) if each.HasField("history")), default=-1)


def _fragments_joined(data: bytes) -> Iterator[bytes]:
    at, record = _FILE_HEADER, b""
    while at + _HEADER <= len(data):
        if (rest := _BLOCK - at % _BLOCK) < _HEADER:
            at += rest  # zeros fill the block
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        end = at + _HEADER + length
        if not kind or end > len(data):
            return
        record += data[at + _HEADER : end]
        at = end
        if kind in (_FULL, _LAST):
            yield record
            record = b""
