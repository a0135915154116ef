"""The cache, built by several processes: that of one, record by record, also after one of them is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from forks import Forks
from image_folders import write_images
from runs import CONFIG, Command, Run

from dit_run.cache.maintenance import spaces
from dit_run.cache.shards import Shard

ENCODERS = Path(__file__).parent / "frozen_encoders.py"
NOTED = Path(__file__).parent / "noted_images.py"
COUNT = 23

pytestmark = pytest.mark.slow


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of a config of images of two sizes, two of them alike, with frozen encoders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dit_run.data.kept_columns.KEPT_FROM", 2)  # as the plugin sets it, and not for other tests
    write_images(tmp_path / "images", COUNT, [(16, 16), (32, 16)])
    for suffix in ("png", "txt"):
        shutil.copy(tmp_path / "images" / f"2.{suffix}", tmp_path / "images" / f"{COUNT}.{suffix}")
    Path("tiny.yaml").write_text(CONFIG)
    return [
        "tiny.yaml",
        f"plugins=[{ENCODERS}, {NOTED}]",
        "data={type: noted, dataset_path: images, buckets: [16x16, 16x32], random_flip: true, train_split: 0.8}",
        "vae={type: frozen_pixels}",
        "text_encoder={type: frozen_words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}",
        "training.device=cpu",
    ]


def kept(folder: str) -> list[tuple[str, bytes, bytes]]:
    """The records of a cache: the name of their space, key and values."""
    shards = [(space.folder.name, Shard(path)) for space in spaces(Path(folder)) for path in space.shards()]
    return sorted(
        (name, shard.keys[row].tobytes(), shard.values(row).tobytes())
        for name, shard in shards
        for row in range(len(shard))
    )


def test_a_cache_of_several_processes_is_that_of_one(forks: Forks, command: Command, words: list[str]) -> None:
    assert command("cache", *words, "--dir", "by1").status == 0
    ended = forks.run("cache", *words, "training.use_ema=false", "--dir", "by4", processes=4)
    assert ended.statuses == (0,) * 4, ended.output
    assert ended.output.count("training.ema_decay has no effect") == 1
    assert ended.output.count(f"latents of {COUNT + 1} samples") == 1
    alone = kept("by1")
    assert len(alone) == 2 * COUNT + COUNT + 1  # each image twice, each caption, and the empty one
    assert kept("by4") == alone
    assert len(Path("listings").read_text().splitlines()) == 2  # one for each command
    assert sorted(set(map(int, Path("reads").read_text().split()))) == list(range(COUNT + 1))
    Path("reads").unlink()
    ended = forks.run("cache", *words, "--dir", "by4", processes=2)
    assert ended.statuses == (0, 0), ended.output
    assert not Path("reads").exists()  # a complete cache of data that are known is opened without a look at a sample
    assert kept("by4") == alone


def test_what_a_lost_process_leaves_is_completed(forks: Forks, command: Command, words: list[str]) -> None:
    ended = forks.run("cache", *words, "vae.loses='1'", "--dir", "cache", processes=3)
    assert ended.statuses[1] == -9 and 0 not in ended.statuses
    assert "Traceback" not in ended.output, ended.output
    ended = forks.run("cache", *words, "--dir", "cache", processes=2)
    assert ended.statuses == (0, 0), ended.output
    assert command("cache", *words, "--dir", "by1").status == 0
    assert kept("cache") == kept("by1")


def test_a_run_of_two_processes_learns_the_same_from_a_cold_and_from_a_warm_cache(
    forks: Forks, words: list[str]
) -> None:
    for name in ("cold", "warm"):
        ended = forks.run(*words, "cache.dir=cache", f"training.output_dir={name}", processes=2)
        assert ended.statuses == (0, 0), ended.output
        assert ("encoding images" in ended.output) == (name == "cold")
    assert len(Path("listings").read_text().splitlines()) == 2  # the first process of each run lists the folder
    assert Run(Path("cold")).learnt() == Run(Path("warm")).learnt()
