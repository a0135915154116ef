"""A start with a complete cache and known images looks at no sample, and finds what the first start found."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from joint_threads import in_threads
from PIL import Image
from tar_shards import write_tar

from dit_run import load_config
from dit_run.assembly.parts import build_encoders
from dit_run.assembly.prepare import Data, build_data, fit_data
from dit_run.cache.lookup import GroupedLatentCache, LatentCache
from dit_run.cache.open_cache import Cached, open_cache
from dit_run.compute.distributed import Processes
from dit_run.data.sample_index import SampleIndex
from dit_run.reporting import Silent
from dit_run.settings import Config
from dit_run_plugins.datasets.webdataset import TarShards

COUNT = 12
SIZES = ((16, 16), (32, 16), (16, 32), (40, 40), (64, 16))


class Counting(Silent):
    """Counts the images that are encoded."""

    def __init__(self) -> None:
        self.encoded = 0

    def phase(self, name: str, done: int, total: int) -> None:
        self.encoded = max(self.encoded, done) if name == "encoding images" else self.encoded


@dataclass(frozen=True)
class Started:
    """A start of a run up to its opened cache."""

    data: Data
    cached: Cached
    reads: int
    """Samples that were asked for."""
    encoded: int
    """Images that were encoded."""

    def found(self) -> Any:
        """Return everything that a run gets, as plain values."""
        latents = self.cached.latents
        assert isinstance(latents, GroupedLatentCache) and self.data.validation is not None
        (states,) = self.cached.captions
        assert states is not None
        visits = self.data.train.visits(range(3 * COUNT))
        gathered = [latents.gather([latents.find(visit)]).numpy().tobytes() for visit in visits]
        texts = states([visit.caption for visit in visits], [False] * len(visits))
        return [
            [replace(visit, image=None) for visit in visits],
            gathered,
            texts.tokens.numpy().tobytes(),
            states.count,
            [_plain(samples) for samples in (self.data.train, self.data.validation)],
            self.places(),
            self.data.fitted,
            self.data.inventory,
            SampleIndex.of(self.data.train).digest,
        ]

    def places(self) -> dict[Any, Any]:
        """Return the places of all latents, by size and part."""
        assert isinstance(self.cached.latents, GroupedLatentCache)
        return {group: _places(cache) for group, cache in self.cached.latents.by_group.items()}


def _plain(samples: Any) -> Any:
    groups = {group: indices.tolist() for group, indices in samples.indices_by_size().items()}
    return samples.indices.tolist(), samples.sizes.sizes, samples.sizes.of_sample.tolist(), groups


def _places(cache: LatentCache) -> Any:
    spaces = [records.space.folder.name for records in cache.records]
    return cache.indices.tolist(), [each.tolist() for each in cache.places], dict(cache.bad), spaces, cache.shape


def image(number: int, seed: int) -> bytes:
    """Return an image, of a size that repeats; all of one size have the same number of bytes."""
    wide, high = SIZES[number % len(SIZES)]
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (high, wide, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "bmp")
    return content.getvalue()


def write(folder: Path, seeds: range | list[int]) -> None:
    """Write two shards."""
    for shard in range(2):
        numbers = range(shard, COUNT, 2)
        members = [(f"{at}.bmp", image(at, seeds[at])) for at in numbers] + [
            (f"{at}.txt", b"no %d" % at) for at in numbers
        ]
        write_tar(folder / f"{shard}.tar", sorted(members))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, old_files: None) -> None:
    """Let the small dataset count as large, and its shards as old."""
    monkeypatch.setattr("dit_run.data.kept_columns.KEPT_FROM", 2)


@pytest.fixture
def home(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config of two shards, with buckets and mirrored images; and an empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    content = yaml.safe_load(config.read_text())
    content["data"] = {"type": "webdataset", "dataset_path": str(tmp_path / "shards"), "image_size": 16,
                       "max_crop": 0.4, "buckets": ["16x16", "16x32", "32x16"], "random_flip": True,
                       "train_split": 0.7}  # fmt: skip
    config.write_text(yaml.safe_dump(content))
    write(tmp_path / "shards", range(COUNT))
    return tmp_path


@pytest.fixture
def start(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    def started(*changes: str) -> Started:
        config, counting, reads = load_config(home / "config.yaml", *changes), Counting(), list[int]()
        item = TarShards.__getitem__
        with monkeypatch.context() as patches:
            patches.setattr(TarShards, "__getitem__", lambda self, at: reads.append(at) or item(self, at))
            data, cached = _opened(config, counting)
        return Started(data, cached, len(reads), counting.encoded)

    return started


def _opened(config: Config, reporter: Counting) -> tuple[Data, Cached]:
    encoders = build_encoders(config, torch.device("cpu"))
    data = fit_data(config, build_data(config), unit=encoders.vae.factor * 2)
    SampleIndex.of(data.train)
    assert data.validation is not None
    samples = [data.train, data.validation]
    return data, open_cache(config, samples, texts=encoders.texts, vae=encoders.vae, dtype=None, reporter=reporter)


def kept_files(home: Path) -> list[Path]:
    """Return the kept results about all samples; those of a shard have its names, sizes and captions."""
    files = (home / "home" / "dit-run" / "indexes").glob("*.index")
    return sorted(file for file in files if b"offsets" not in file.read_bytes())


def test_a_known_start_looks_at_no_sample_and_finds_the_same(
    home: Path, large: None, start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start(), start()
    assert (second.reads, second.encoded) == (0, 0) and first.reads > COUNT and first.encoded > 0
    monkeypatch.setattr("dit_run.data.kept_columns.KEPT_FROM", COUNT + 1)
    unkept = start()
    assert unkept.reads > COUNT and unkept.encoded == 0
    assert first.found() == second.found() == unkept.found()
    assert second.data.fitted is not None and second.data.fitted.left_out


@pytest.mark.parametrize("unsure", [None, 0, 1])
def test_all_processes_look_if_one_of_them_has_to(
    home: Path, large: None, start: Callable[..., Started], unsure: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data of process ``unsure`` have no identity there, as shards that were written just now have none."""
    first, reads, item = start(), list[int](), TarShards.__getitem__

    def opened(processes: Processes) -> dict[Any, Any]:
        config = load_config(home / "config.yaml")
        encoders = build_encoders(config, torch.device("cpu"))
        data = fit_data(config, build_data(config), unit=encoders.vae.factor * 2)
        samples = [each for each in (data.train, data.validation) if each is not None]
        if processes.rank == unsure:
            samples = [replace(each, dataset=replace(each.dataset, identity=None)) for each in samples]
        cached = open_cache(
            config, samples, texts=encoders.texts, vae=encoders.vae, dtype=None, reporter=Silent(), processes=processes
        )
        assert isinstance(cached.latents, GroupedLatentCache)
        return {group: _places(cache) for group, cache in cached.latents.by_group.items()}

    monkeypatch.setattr(TarShards, "__getitem__", lambda self, at: reads.append(at) or item(self, at))
    assert in_threads(3, opened) == [first.places()] * 3
    assert (len(reads) == 0) == (unsure is None)


def test_an_image_that_changes_in_place_is_found(home: Path, large: None, start: Callable[..., Started]) -> None:
    before, shard = start().found()[:3], home / "shards" / "1.tar"
    status = shard.stat()
    seeds = list(range(COUNT))
    seeds[1] = 1000
    write(home / "other", seeds)
    with shard.open("r+b") as file:  # the same file, size and time of writing
        file.write((home / "other" / "1.tar").read_bytes())
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (shard.stat().st_ino, shard.stat().st_size) == (status.st_ino, status.st_size)
    again = start()
    assert again.reads > COUNT and again.encoded > 0
    after = again.found()[:3]
    shutil.rmtree(home / "cache")
    shutil.rmtree(home / "home")
    assert after == start().found()[:3] != before


def test_a_shard_that_was_written_just_now_is_not_trusted(
    home: Path, start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_run.data.kept_columns.KEPT_FROM", 2)
    written = max(shard.stat().st_ctime_ns for shard in (home / "shards").iterdir())
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**9)
    first, second = start(), start()
    assert first.data.validation is not None
    assert second.reads >= len(first.data.train) + len(first.data.validation)
    assert second.found() == first.found()


@pytest.mark.parametrize(
    "change",
    ["data.max_crop=1.0", "data.buckets=[16x16,16x32]", "data.random_flip=false", "training.seed=7",
     "data.train_split=0.5", "data.num_samples=10"],
)  # fmt: skip
def test_other_options_are_not_mixed_up(
    home: Path, large: None, start: Callable[..., Started], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    changed = start(change)
    assert changed.reads > 0
    known = start(change)
    assert known.reads <= 1  # a sample that is left out is named
    monkeypatch.setattr("dit_run.data.kept_columns.KEPT_FROM", COUNT + 1)
    assert changed.found() == known.found() == start(change).found()


def test_damaged_files_are_reported_and_built_again(
    home: Path, large: None, start: Callable[..., Started], caplog: pytest.LogCaptureFixture
) -> None:
    first = start().found()
    assert not caplog.records
    files = kept_files(home)
    whole = {file: file.read_bytes() for file in files}
    assert len(files) == 6  # the split, the index of samples, sizes of two sides, places, and the count of captions
    for file in files:
        caplog.clear()
        file.write_bytes(whole[file][:-64] + bytes([whole[file][-64] ^ 1]) + whole[file][-63:])
        again = start()
        assert again.found() == first
        assert file.read_bytes() == whole[file]
        assert [record.getMessage() for record in caplog.records] == [
            f"{file} is damaged or of another version; it is built again"
        ]


def test_records_that_are_gone_are_encoded_again(home: Path, large: None, start: Callable[..., Started]) -> None:
    first = start().found()
    (space, *_) = (home / "cache" / "latents").iterdir()
    for shard in space.glob("*.safetensors"):
        shard.unlink()
    again = start()
    assert again.reads > 0 and again.encoded > 0
    assert again.found()[:3] == first[:3]


def test_a_noted_damage_is_encoded_again(home: Path, large: None, start: Callable[..., Started]) -> None:
    first = start()
    assert isinstance(first.cached.latents, GroupedLatentCache)
    cache = next(iter(first.cached.latents.by_group.values()))
    records = cache.records[0]
    assert records.space.note_damage(records.index.names[0], [0])
    again = start()
    assert again.encoded == 1
    assert again.found()[:3] == first.found()[:3]
    assert start().reads == 0


def test_an_unreadable_image_is_looked_at_again(home: Path, large: None, start: Callable[..., Started]) -> None:
    members = [("broken.bmp", image(0, 5)[:200]), ("broken.txt", b"broken")]
    write_tar(home / "shards" / "2.tar", members)
    assert start("data.on_bad_sample=skip").cached.latents is not None
    again = start("data.on_bad_sample=skip")
    assert again.reads > 0 and again.cached.latents is not None
    assert [reason for reason in again.cached.latents.bad.values() if "broken.bmp" in reason]


def test_samples_travel_as_the_names_of_their_files(home: Path, large: None, start: Callable[..., Started]) -> None:
    start()
    known = start()
    for samples in (known.data.train, known.data.validation):
        assert samples is not None and samples.sizes is not None and samples.sizes.grouping is not None
        there = pickle.loads(pickle.dumps(samples))
        assert _plain(there) == _plain(samples)
        assert there.order.visits(range(30))[1].tolist() == samples.order.visits(range(30))[1].tolist()
        for array in (there.indices, there.sizes.of_sample, there.sizes.grouping.places):
            assert array.place[0].parent == home / "home" / "dit-run" / "indexes"
    assert isinstance(known.cached.latents, GroupedLatentCache)
    for group, cache in known.cached.latents.by_group.items():
        there = pickle.loads(pickle.dumps(known.cached.latents)).by_group[group]
        assert _places(there) == _places(cache)
        assert all(array.place is not None for array in (there.indices, *there.places))
