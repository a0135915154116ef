"""Indices of shards: built once each, in this process or several, and kept as soon as a shard is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dit_run.data.column_files import Columns
from dit_run.data.shard_indices import indices_of
from dit_run.problems import InputError


@dataclass(frozen=True)
class Shard:
    """A shard that notes each build in a file."""

    name: str
    notes: Path

    @property
    def bytes(self) -> int:
        return 10

    @property
    def is_local(self) -> bool:
        return self.name != "remote"

    @property
    def identity(self) -> list[str]:
        return ["test", self.name]

    @property
    def settled(self) -> bool:
        return self.name != "fresh"

    def build(self) -> Columns:
        if self.name == "broken":
            raise InputError("broken is damaged")
        with self.notes.open("a") as file:
            file.write(f"{self.name}\n")
        return Columns({"name": np.frombuffer(self.name.encode(), dtype=np.uint8)})


def names(shards: list[Shard], workers: int | None = None) -> list[str]:
    return [index["name"].tobytes().decode() for index in indices_of(shards, workers=workers)]


def test_each_shard_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    notes = tmp_path / "notes"
    first, second, broken, last = (Shard(name, notes) for name in ("first", "second", "broken", "last"))
    with pytest.raises(InputError, match="broken is damaged"):
        names([first, broken, last])
    assert notes.read_text().split() == ["first"]
    for _ in range(2):
        assert names([last, first, second]) == ["last", "first", "second"]
    assert sorted(notes.read_text().split()) == ["first", "last", "second"]


def test_the_index_of_a_shard_that_was_written_just_now_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    shards = [Shard("fresh", tmp_path / "notes"), Shard("last", tmp_path / "notes")]
    assert names(shards) == names(shards) == ["fresh", "last"]
    assert (tmp_path / "notes").read_text().split() == ["fresh", "last", "fresh"]


def test_remote_shards_are_built_side_by_side(tmp_path: Path) -> None:
    assert names([Shard("first", tmp_path / "notes"), Shard("remote", tmp_path / "notes")]) == ["first", "remote"]


def test_without_a_cache_each_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    notes = tmp_path / "notes"
    shards = [Shard("first", notes), Shard("second", notes)]
    assert names(shards) == names(shards) == ["first", "second"]
    assert len(notes.read_text().split()) == 4
