"""Downloads: whole files by ranges, tried again where that helps, and errors that name the URL."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, serving
from hub_server import TOKEN, Hub, Repository, running_hub

from dit_run.data.downloads import RemoteFailed, download, matching, remote_files
from dit_run.problems import InputError

pytest.importorskip("aiohttp", reason="dit-run[remote] is not installed")
fsspec = pytest.importorskip("fsspec", reason="dit-run[remote] is not installed")

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with serving(tmp_path) as files:
        yield files


@pytest.fixture
def pauses() -> list[float]:
    return []


def fetched(url: str, pauses: list[float] | None = None) -> bytes:
    pauses, into = [] if pauses is None else pauses, io.BytesIO()
    download(remote_files([url], pause=pauses.append)[0], into, pause=pauses.append, at_once=10_000)
    return into.getvalue()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_is_read_in_ranges_where_the_server_has_them(server: FileServer, ranges: bool) -> None:
    server.ranges = ranges
    assert fetched(f"{server.url}/a.tar") == CONTENT
    assert server.gets("a.tar") == (3 if ranges else 1)


def test_a_memory_store_is_read_too() -> None:
    fsspec.filesystem("memory").pipe("/bucket/x-1.tar", b"one")
    fsspec.filesystem("memory").pipe("/bucket/x-2.tar", b"two!")
    urls = matching("memory://bucket/x-*.tar")
    assert urls == ["memory:///bucket/x-1.tar", "memory:///bucket/x-2.tar"]
    assert [fetched(url) for url in urls] == [b"one", b"two!"]


def test_what_fails_for_a_while_is_tried_again(server: FileServer, pauses: list[float]) -> None:
    server.drops = 2
    assert fetched(f"{server.url}/a.tar", pauses) == CONTENT
    assert pauses == [0.5, 1.0]
    server.busy = 5
    assert fetched(f"{server.url}/a.tar", pauses) == CONTENT  # HEAD and GET ask for the size in turn
    assert pauses == [0.5, 1.0, 0.5, 1.0]


def test_a_connection_that_always_drops_is_named(server: FileServer, pauses: list[float]) -> None:
    server.drops = 100
    with pytest.raises(RemoteFailed, match=r"cannot read http://.*/a\.tar: 6 tries failed, the last with ") as error:
        fetched(f"{server.url}/a.tar", pauses)
    assert "the same command continues" in str(error.value)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_file_that_is_missing_is_an_error_at_once(server: FileServer, pauses: list[float]) -> None:
    with pytest.raises(InputError, match=r"cannot read http://.*/none\.tar: the answer 404 Not Found"):
        remote_files([f"{server.url}/none.tar"], pause=pauses.append)
    with pytest.raises(InputError, match=r"cannot read memory://bucket/none\.tar: it does not exist"):
        remote_files(["memory://bucket/none.tar"], pause=pauses.append)
    assert pauses == []


def test_a_server_that_is_away_is_tried_again(server: FileServer, pauses: list[float]) -> None:
    with pytest.raises(RemoteFailed, match=r"cannot read http://127\.0\.0\.1:9/a\.tar: 6 tries failed"):
        remote_files(["http://127.0.0.1:9/a.tar"], pause=pauses.append)
    assert len(pauses) == 5


def test_a_file_that_changes_is_noticed(server: FileServer) -> None:
    (remote,) = remote_files([f"{server.url}/a.tar"])
    (server.folder / "a.tar").write_bytes(CONTENT[::-1])
    with pytest.raises(RemoteFailed, match=r"a\.tar has changed since the start: "):
        download(remote, io.BytesIO())


def test_a_file_that_is_removed_is_a_failure_of_the_server_and_no_bad_sample(server: FileServer) -> None:
    (remote,) = remote_files([f"{server.url}/a.tar"])
    (server.folder / "a.tar").unlink()
    with pytest.raises(RemoteFailed, match=r"cannot read http://.*/a\.tar: the answer 404 Not Found"):
        download(remote, io.BytesIO())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two shards."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        paths = "".join(huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{")[1:])
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", running.url + paths)
        running.repositories["ann/birds"] = Repository(private=True, files={"0.tar": CONTENT, "1.tar": CONTENT[::-1]})
        huggingface_hub.HfFileSystem.clear_instance_cache()
        yield running
        huggingface_hub.HfFileSystem.clear_instance_cache()


def test_shards_on_the_hugging_face_hub_are_read_in_exact_ranges(hub: Hub, pauses: list[float]) -> None:
    urls = matching("hf://datasets/ann/birds/*.tar")
    assert urls == ["hf://datasets/ann/birds/0.tar", "hf://datasets/ann/birds/1.tar"]
    assert fetched(urls[1], pauses) == CONTENT[::-1]
    assert hub.ranges == [(0, 9_999), (10_000, 19_999), (20_000, 25_599)]
    (remote,) = remote_files(urls[:1])
    hub.repositories["ann/birds"].files["0.tar"] = CONTENT[::-1]  # listed before
    with pytest.raises(RemoteFailed, match=r"0\.tar has changed since the start: "):
        download(remote, io.BytesIO())


@pytest.mark.parametrize("name", ["*.tar", "0.tar"])
def test_what_the_hugging_face_hub_does_not_have_is_an_error_at_once(hub: Hub, pauses: list[float], name: str) -> None:
    url = f"hf://datasets/ann/none/{name}"
    with pytest.raises(InputError, match=r"cannot read hf://datasets/ann/none/.*\.tar: the answer 404 Not Found"):
        remote_files(matching(url, pause=pauses.append), pause=pauses.append)
    assert pauses == []


def test_a_protocol_without_its_package_says_how_to_install_it() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match=r"bogus://x/a\.tar cannot be used: Protocol not known"):
        remote_files(["bogus://x/a.tar"])
    fsspec.register_implementation("absent", "absent_package.Files", errtxt="Install absent", clobber=True)
    with pytest.raises(
        InputError, match=r"absent://x/a\.tar needs a package .*\(Install absent\): pip install 'dit-run"
    ):
        remote_files(["absent://x/a.tar"])
