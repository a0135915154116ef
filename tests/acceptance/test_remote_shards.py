"""Shards by URL: a run reads them through a bounded cache, and learns the same as from local files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl
from file_server import FileServer, serving
from parquet_files import encoded, write_parquet
from PIL import Image
from runs import CONFIG, Command, Run
from tar_shards import write_tar

pytest.importorskip("aiohttp", reason="dit-run[remote] is not installed")

SHARDS, EACH = 4, 6


def picture(number: int) -> bytes:
    gradient = Image.radial_gradient("L").resize((24, 16)).rotate(number * 11)
    return encoded(
        Image.merge("RGB", [gradient.point(lambda v, k=k: (v * (k + 1) + number * 9) % 256) for k in range(3)])
    )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    folder = tmp_path / "files"
    for shard in range(SHARDS):
        members = [
            part
            for number in range(shard * EACH, (shard + 1) * EACH)
            for part in ((f"{number}.png", picture(number)), (f"{number}.txt", b"number %d" % number))
        ]
        write_tar(folder / f"{shard}.tar", members)
    with serving(folder) as files:
        yield files


def data(path: str, kind: str = "webdataset") -> str:
    return f"data={{type: {kind}, dataset_path: '{path}', shuffle_window: 1}}"


@pytest.mark.slow
def test_a_run_on_urls_learns_the_same_as_one_on_files(server: FileServer, command: Command) -> None:
    local = command("tiny.yaml", data("files/{0..3}.tar"), "training.output_dir=local")
    assert local.status == 0, local.words
    limit = 2.5 * max(path.stat().st_size for path in server.folder.iterdir()) / 1e9
    remote = command("tiny.yaml", data(server.url + "/{0..3}.tar"), f"cache.shards_gb={limit:.9f}", "cache.dir=kept")
    assert remote.status == 0, remote.words
    assert Run(Path("run")).learnt() == Run(Path("local")).learnt()
    copies = list(Path("kept/remote").glob("*.shard"))
    assert 0 < sum(path.stat().st_size for path in copies) <= limit * 1e9
    before = len(server.asked)
    again = command("tiny.yaml", data(server.url + "/{0..3}.tar"), "training.output_dir=again", "cache.dir=kept")
    assert again.status == 0, again.words
    assert Run(Path("again")).learnt() == Run(Path("local")).learnt()
    assert sum(word.startswith("GET") for word in server.asked[before:]) <= SHARDS


@pytest.mark.slow
def test_cached_latents_need_no_shard_again(server: FileServer, command: Command, tmp_path: Path) -> None:
    tiny_autoencoder_kl(tmp_path / "vae")
    words = ("tiny.yaml", data(server.url + "/{0..3}.tar"), "vae={type: autoencoder_kl, pretrained_model_name: vae}",
             "model={in_channels: 4, out_channels: 4, patch_size: 1}", "training.max_steps=2")  # fmt: skip
    first = command(*words)
    assert first.status == 0, first.words
    shutil.rmtree(tmp_path / "home/dit-run/remote")
    before = len(server.asked)
    again = command(*words, "training.output_dir=again")
    assert again.status == 0, again.words
    assert Run(Path("again")).learnt() == Run(Path("run")).learnt()
    assert [word for word in server.asked[before:] if word.startswith("GET")] == []


def test_a_url_that_is_missing_is_named(server: FileServer, command: Command) -> None:
    said = command("check", "tiny.yaml", data(server.url + "/{3..4}.tar"))
    assert said.status == 2
    assert f"cannot read {server.url}/4.tar: the answer 404 Not Found" in said.words


def test_half_of_a_shard_is_named_with_its_last_member(server: FileServer, command: Command) -> None:
    path = server.folder / "1.tar"
    path.write_bytes(path.read_bytes()[:3000])
    said = command("check", "tiny.yaml", data(server.url + "/1.tar"))
    assert said.status == 2
    assert f"cannot read the shard {server.url}/1.tar after " in said.words
    assert "it is damaged, cut short or no plain tar archive" in said.words


@pytest.mark.slow
def test_a_parquet_file_is_read_by_url(server: FileServer, command: Command) -> None:
    pytest.importorskip("pyarrow", reason="dit-run[parquet] is not installed")
    columns = {"image": [picture(n) for n in range(8)], "text": [f"number {n}" for n in range(8)]}
    write_parquet(server.folder / "a.parquet", columns)
    said = command("check", "tiny.yaml", data(server.url + "/a.parquet", "parquet"))
    assert said.status == 0, said.words
    (server.folder / "a.parquet").write_bytes((server.folder / "a.parquet").read_bytes()[:500])
    said = command("check", "tiny.yaml", data(server.url + "/a.parquet", "parquet"))
    assert said.status == 2
    assert f"cannot read {server.url}/a.parquet: " in said.words
