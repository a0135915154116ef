"""The index of a run's samples: what it is made of, and how two of them differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dit_run.data.sample_index import IndexChanges, SampleIndex
from dit_run.data.samples import Samples
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon


def index_of(captions: dict[str, tuple[str, ...]]) -> SampleIndex:
    dataset = [Sample(key, texts, Path("nowhere") / key) for key, texts in captions.items()]
    return SampleIndex.of(Samples(dataset, np.arange(len(dataset)), DatasetCommon(), 0))  # type: ignore[arg-type]


BEFORE = {"a": ("one", "two"), "b": ("three",), "c": ("four",)}


def test_the_order_of_a_dataset_is_not_part_of_it() -> None:
    backwards = dict(reversed(BEFORE.items()))
    assert index_of(backwards).digest == index_of(BEFORE).digest
    assert len(index_of(BEFORE)) == 3


@pytest.mark.parametrize(
    ("now", "changes", "text"),
    [
        (BEFORE | {"d": ("five",)}, IndexChanges(1, 0, 0), "1 added"),
        ({"a": ("one", "two")}, IndexChanges(0, 2, 0), "2 removed"),
        (BEFORE | {"a": ("two", "one"), "b": ("3",)}, IndexChanges(0, 0, 2), "2 changed in their captions or numbers"),
        (BEFORE | {"a": ("one two",)}, IndexChanges(0, 0, 1), "1 changed in their captions or numbers"),
        (
            {"d": ("one",), "c": ("x",)},
            IndexChanges(1, 2, 1),
            "1 added, 2 removed, 1 changed in their captions or numbers",
        ),
    ],
)
def test_numbers_of_changes(now: dict[str, tuple[str, ...]], changes: IndexChanges, text: str) -> None:
    found = index_of(BEFORE).changes_to(index_of(now))
    assert found == changes
    assert str(found) == text


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, index = tmp_path / "samples.npy", index_of(BEFORE)
    index.store(path)
    again = SampleIndex.read(path)
    assert again is not None
    assert again.digest == index.digest


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"cut"])
def test_a_file_that_is_missing_or_damaged_is_no_index(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "samples.npy"
    if content is not None:
        index_of(BEFORE).store(path)
        path.write_bytes(path.read_bytes()[:-5] if content == b"cut" else content)
    assert SampleIndex.read(path) is None


def test_a_file_is_written_again_only_for_another_index(tmp_path: Path) -> None:
    path, index = tmp_path / "samples.npy", index_of(BEFORE)
    index.store(path)
    inode = path.stat().st_ino
    index.store(path)
    assert path.stat().st_ino == inode
    other = index_of({"another": ("caption",)})
    other.store(path)
    again = SampleIndex.read(path)
    assert again is not None and again.digest == other.digest != index.digest
