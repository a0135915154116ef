"""Results about all samples of a large dataset: the same when they are kept, and found without reading a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dit_run.data.kept_columns import KEPT_FROM
from dit_run.data.sample_index import SampleIndex
from dit_run.data.samples import choose
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon

COUNT = KEPT_FROM + 500
COMMON = DatasetCommon(num_samples=None, train_split=0.99)


@dataclass
class Data:
    """Samples that count how often they are read."""

    identity: str | None
    reads: int = 0

    def keys(self) -> Iterator[str]:
        self.reads += COUNT
        return (f"{index:06d}" for index in range(COUNT))

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return Sample(f"{index:06d}", (f"no {index}",), Path("none"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_second_start_reads_no_sample_and_finds_the_same() -> None:
    unknown, known, again = Data(None), Data("a"), Data("a")
    found = [choose(data, COMMON, seed=3) for data in (unknown, known, again)]
    indices = [SampleIndex.of(train) for train, _ in found]
    assert again.reads == 0 < known.reads
    for (train, held_out), index in zip(found[1:], indices[1:], strict=True):
        assert train.indices.tolist() == found[0][0].indices.tolist()
        assert held_out is not None and found[0][1] is not None
        assert held_out.indices.tolist() == found[0][1].indices.tolist()
        assert index.digest == indices[0].digest == SampleIndex(index.hashes).digest
        assert (index.hashes == indices[0].hashes).all()


def test_other_data_options_and_choices_are_not_mixed_up() -> None:
    digests = set()
    for data, common, seed in (
        (Data("a"), COMMON, 3),
        (Data("b"), COMMON, 3),
        (Data("a"), COMMON, 4),
        (Data("a"), DatasetCommon(num_samples=COUNT - 100, train_split=0.99), 3),
        (Data("a"), DatasetCommon(num_samples=None, train_split=0.98), 3),
    ):
        train, _ = choose(data, common, seed)
        fresh, _ = choose(Data(None), common, seed)
        assert data.reads > 0
        assert train.indices.tolist() == fresh.indices.tolist()
        digests.add(SampleIndex.of(train).digest)
    assert len(digests) == 3  # the seed and the name of the data change no sample, but the choice


def test_results_about_few_samples_are_not_kept(home: Path) -> None:
    train, _ = choose(Data("a"), DatasetCommon(num_samples=50, train_split=1.0), seed=3)
    before = sorted(home.rglob("*.index"))
    SampleIndex.of(train)
    assert sorted(home.rglob("*.index")) == before
