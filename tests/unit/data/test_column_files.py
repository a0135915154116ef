"""Column files: arrays as they were stored, mapped, and nothing from a damaged file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dit_run.data.column_files import Columns

ARRAYS = {
    "a": np.arange(5, dtype=np.int64),
    "empty": np.empty(0, dtype=np.float64),
    "b": np.frombuffer(b"text", dtype=np.uint8),
}


def same(columns: Columns) -> bool:
    return {name: (each.dtype, each.tolist()) for name, each in columns.items()} == {
        name: (each.dtype, each.tolist()) for name, each in ARRAYS.items()
    }


def test_stored_columns_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "columns"
    assert same(Columns(ARRAYS).stored(file))
    read = Columns.read(file)
    assert read is not None and same(read)
    assert [each.name for each in tmp_path.iterdir()] == ["columns"]


def test_columns_travel_as_their_path_or_as_they_are(tmp_path: Path) -> None:
    assert same(pickle.loads(pickle.dumps(Columns(ARRAYS))))
    stored = Columns({"a": np.zeros(100_000)}).stored(tmp_path / "columns")
    content = pickle.dumps(stored)
    assert len(content) < 1000 and len(pickle.loads(content)["a"]) == 100_000


@pytest.mark.parametrize("length", [0, 10, 30, 200])
def test_a_damaged_file_gives_nothing(tmp_path: Path, length: int) -> None:
    file = tmp_path / "columns"
    Columns(ARRAYS).stored(file)
    content = file.read_bytes()
    assert len(content) > length
    for damaged in (content[:length], b"x" + content[1:], content + b"x", content[:20] + b"\xff" * 20 + content[40:]):
        file.unlink()
        file.write_bytes(damaged)
        assert Columns.read(file) is None
    assert Columns.read(tmp_path / "none") is None
