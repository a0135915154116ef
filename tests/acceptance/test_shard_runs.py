"""Real photographs and emoji in tar shards and parquet files: train, stop, continue byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from file_server import serving
from forks import Forks
from parquet_files import write_parquet
from runs import Command, Run, stopping
from tar_shards import write_shards

pytestmark = pytest.mark.slow

Captioned = list[tuple[Path, Sequence[str]]]


def emoji(folder: Path, count: int = 120) -> Captioned:
    lines = (folder / "emoji" / "metadata.jsonl").read_text().splitlines()[:count]
    entries = [json.loads(line) for line in lines]
    return [(folder / "emoji" / entry["file_name"], [entry["text"]]) for entry in entries]


def photographs(folder: Path, count: int = 60) -> Captioned:
    content = json.loads((folder / "coco_subset" / "annotations" / "captions_train2017.json").read_text())
    captions: dict[int, list[str]] = {}
    for each in content["annotations"]:
        captions.setdefault(each["image_id"], []).append(" ".join(each["caption"].split()))
    images = [image for image in content["images"] if image["id"] in captions][:count]
    return [(folder / "coco_subset" / "train2017" / image["file_name"], captions[image["id"]]) for image in images]


def in_parquet(folder: Path, samples: Captioned, count: int) -> None:
    for number in range(count):
        own = samples[number::count]
        columns = {"image": [image.read_bytes() for image, _ in own], "text": [list(texts) for _, texts in own]}
        write_parquet(folder / f"{number}.parquet", columns, group=10)


@pytest.fixture
def words(tmp_path: Path, config: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    write_shards(tmp_path / "emoji", emoji(shared_data), 5)
    write_shards(tmp_path / "photos", photographs(shared_data), 4)
    return (config, "training.max_steps=30", "training.save_steps=20", "data.image_size=16", "data.num_samples=null",
            "validation.every_n_steps=15", "training.logging_steps=5")  # fmt: skip


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "emoji") as files:
        yield files.url


def learns_the_same(
    command: Command, words: tuple[object, ...], whole: tuple[str, ...], other: tuple[str, ...]
) -> None:
    """An uninterrupted run, and one that is stopped and continues under other settings, learn the same bytes."""
    said = command(*words, *whole, "training.output_dir=whole")
    assert said.status == 0, said.words
    stopped = (*words, *other, *stopping(17))
    assert command(*stopped).status == 143
    continued = command(*stopped)
    assert continued.status == 0, continued.words
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()
    assert Run(Path("run")).values("loss") == Run(Path("whole")).values("loss") != []


@pytest.mark.parametrize(("data", "workers"), [
    ("{type: webdataset, dataset_path: emoji, shuffle_window: 2}", 1),
    ("{type: webdataset, dataset_path: photos, buckets: auto, shuffle_window: 1}", 4),
    ("{type: webdataset, dataset_path: photos, buckets: auto}", 0),
])  # fmt: skip
def test_tar_shards(command: Command, words: tuple[object, ...], data: str, workers: int) -> None:
    data = f"data={data}"
    learns_the_same(command, words, (data,), (data, f"training.num_workers={workers}"))


@pytest.mark.parametrize(("more", "workers"), [("buckets: auto, shuffle_window: 2", 1), ("shuffle_window: 1", 0)])
def test_parquet_files(
    command: Command, words: tuple[object, ...], shared_data: Path, tmp_path: Path, more: str, workers: int
) -> None:
    pytest.importorskip("pyarrow", reason="dit-run[parquet] is not installed")
    in_parquet(tmp_path / "tables", photographs(shared_data), 3)
    data = f"data={{type: parquet, dataset_path: tables, {more}}}"
    learns_the_same(command, words, (data,), (data, f"training.num_workers={workers}"))


@pytest.mark.parametrize("workers", [0, 2])
def test_remote_shards_through_a_small_cache(
    command: Command, words: tuple[object, ...], url: str, tmp_path: Path, workers: int
) -> None:
    pytest.importorskip("aiohttp", reason="dit-run[remote] is not installed")
    limit = 3.5 * max(path.stat().st_size for path in (tmp_path / "emoji").iterdir())
    local = "data={type: webdataset, dataset_path: emoji, shuffle_window: 1}"
    remote = f"data={{type: webdataset, dataset_path: '{url}/{{0..4}}.tar', shuffle_window: 1}}"
    learns_the_same(
        command, words, (local,), (remote, f"cache.shards_gb={limit / 1e9:.9f}", f"training.num_workers={workers}")
    )
    held = sum(path.stat().st_size for path in (tmp_path / "home/dit-run/remote").glob("*.shard"))
    assert 0 < held <= limit


def test_two_processes_continue_what_one_began(words: tuple[object, ...], command: Command, forks: Forks) -> None:
    same = (*words, "data={type: webdataset, dataset_path: emoji, shuffle_window: 2}", "training.device=cpu",
            "training.elastic_exact=true", "training.gradient_accumulation_steps=2")  # fmt: skip
    alone = command(*same, "training.output_dir=whole")
    assert alone.status == 0, alone.words
    assert command(*same, *stopping(17)).status == 143
    continued = forks.run(*same, processes=2)
    assert continued.statuses == (0, 0), continued.output
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()
