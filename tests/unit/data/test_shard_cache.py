"""The cache of remote shards: one download each, bounded, intact."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from file_server import FileServer, serving

from dit_run.data.downloads import RemoteFailed, RemoteFile, remote_files
from dit_run.data.images import read_image
from dit_run.data.shard_cache import ShardCache
from dit_run.data.shard_sources import RemoteShard
from dit_run.problems import InputError
from dit_run.system.file_locks import locked

pytest.importorskip("aiohttp", reason="dit-run[remote] is not installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "files").mkdir()
    for number in range(4):
        (tmp_path / "files" / f"{number}.tar").write_bytes(bytes([number]) * 1000)
    with serving(tmp_path / "files") as files:
        yield files


@pytest.fixture
def remotes(server: FileServer) -> list[RemoteFile]:
    return remote_files([f"{server.url}/{number}.tar" for number in range(4)])


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache.of(tmp_path / "cache", 2500)


def content(cache: ShardCache, remote: RemoteFile) -> bytes:
    with cache.opened(remote) as file:
        return file.read()


def copies(cache: ShardCache, remotes: list[RemoteFile]) -> list[int]:
    return [number for number, remote in enumerate(remotes) if cache.path(remote).exists()]


def used_at(cache: ShardCache, remote: RemoteFile, time: int) -> None:
    os.utime(cache.path(remote).with_suffix(".json"), (time, time))


def test_a_copy_is_downloaded_once(server: FileServer, remotes: list[RemoteFile], cache: ShardCache) -> None:
    server.latency = 0.05
    with ThreadPoolExecutor(4) as readers:
        assert list(readers.map(lambda _: content(cache, remotes[1]), range(4))) == [b"\1" * 1000] * 4
    assert content(pickle.loads(pickle.dumps(cache)), remotes[1]) == b"\1" * 1000
    assert server.gets("1.tar") == 1


def test_the_copies_unused_for_longest_are_removed(
    server: FileServer, remotes: list[RemoteFile], cache: ShardCache
) -> None:
    for number in (0, 1):
        cache.fetch(remotes[number])
        used_at(cache, remotes[number], 1000 + number)
    cache.keep([remotes[0]])
    opened = cache.opened(remotes[1])
    used_at(cache, remotes[1], 1001)
    cache.fetch(remotes[2])
    assert copies(cache, remotes) == [0, 2]
    assert opened.read() == b"\1" * 1000  # what is open is read to its end
    opened.close()
    assert content(cache, remotes[1]) == b"\1" * 1000
    assert server.gets("1.tar") == 2
    assert sum(path.stat().st_size for path in cache.folder.glob("*.shard")) <= cache.limit


def test_a_changed_copy_is_downloaded_again_and_a_touched_one_is_not(
    server: FileServer, remotes: list[RemoteFile], cache: ShardCache
) -> None:
    cache.fetch(remotes[3])
    path = cache.path(remotes[3])
    os.utime(path, (1, 1))
    assert content(cache, remotes[3]) == b"\3" * 1000
    assert server.gets("3.tar") == 1
    for damage in (b"\3" * 999 + b"x", b"\3" * 500, b""):
        path.write_bytes(damage)
        assert content(cache, remotes[3]) == b"\3" * 1000
    path.with_suffix(".json").unlink()
    os.utime(path, (2, 2))
    assert content(cache, remotes[3]) == b"\3" * 1000
    assert server.gets("3.tar") == 5


def test_copies_that_are_removed_all_the_time_are_read(
    server: FileServer, remotes: list[RemoteFile], tmp_path: Path
) -> None:
    cache = ShardCache.of(tmp_path / "cache", 1500)
    with ThreadPoolExecutor(4) as readers:
        found = list(readers.map(lambda turn: content(cache, remotes[turn % 4]), range(40)))
    assert found == [bytes([turn % 4]) * 1000 for turn in range(40)]
    assert len(copies(cache, remotes)) == 1


def test_remains_of_a_killed_process_leave_no_trace(remotes: list[RemoteFile], cache: ShardCache) -> None:
    cache.folder.mkdir(parents=True)
    dead, live = (cache.path(remotes[number]).with_suffix(".partial") for number in (2, 3))
    for partial in (dead, live):
        partial.write_bytes(bytes(1000))
    with locked(live.with_suffix(".lock")):
        cache.fetch(remotes[0])
        assert not dead.exists() and live.exists()
    cache.fetch(remotes[2])
    assert copies(cache, remotes) == [0, 2]


def test_a_shard_larger_than_the_cache_is_refused(remotes: list[RemoteFile], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/0\.tar has 1 kB, more than .*raise cache\.shards_gb, which is 9e-07"):
        ShardCache.of(tmp_path, 900).fetch(remotes[0])


def test_a_failed_download_leaves_nothing(server: FileServer, remotes: list[RemoteFile], tmp_path: Path) -> None:
    pauses: list[float] = []
    cache = ShardCache(tmp_path / "cache", 2500, pauses.append)
    server.drops = 10
    with pytest.raises(RemoteFailed, match=r"/0\.tar"):
        cache.fetch(remotes[0])
    assert [path.suffix for path in cache.folder.iterdir() if path.name != "room.lock"] == [".lock"]
    server.drops = 0
    cache.fetch(remotes[0])


def test_a_folder_that_cannot_be_written_is_named(remotes: list[RemoteFile], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RemoteFailed, match=r"no copy of .*0\.tar can be kept in .*file/remote: Not a directory"):
        ShardCache.of(tmp_path / "file", 2500).fetch(remotes[0])


def test_a_failing_server_is_no_bad_image(server: FileServer, remotes: list[RemoteFile], tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 2500, lambda seconds: None)
    server.busy = 1000
    with pytest.raises(RemoteFailed, match=r"cannot read .*0\.tar: 6 tries failed, the last with the answer 503"):
        read_image(RemoteShard(remotes[0], cache).part(0, 20, "0001.jpg"), (8, 8))


def test_a_part_of_a_remote_shard(remotes: list[RemoteFile], cache: ShardCache) -> None:
    shard = RemoteShard(remotes[2], cache)
    part = pickle.loads(pickle.dumps(shard.part(10, 20, "0001.jpg")))
    assert str(part) == f"{remotes[2].url}: 0001.jpg" and shard.name == "2.tar"
    before = part.state()
    assert part.read() == b"\2" * 20
    assert part.state() == before != RemoteShard(remotes[1], cache).part(10, 20, "0001.jpg").state()
    with pytest.raises(OSError, match="the file ends 5 bytes before the end of this part"):
        shard.part(990, 15, "x").read()
