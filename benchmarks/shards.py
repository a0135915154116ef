"""Reading JPEGs from tar shards on one core: compared with the webdataset package, with a folder, and by HTTP.

The images are photographs-like JPEGs of 500 × 375, read at 256 pixels by dit-run's decoder in every case; webdataset
reads its shards in sequence, dit-run in windows of shards, at random places. Measured is processor time, in turns.
Bars: at least as fast as webdataset, and at least 0.95 times as fast as from a folder.

By HTTP, shards come from a server in another process that waits 50 ms before each answer, through an empty cache.
Measured is the time between the end of the first window of shards and the end of the epoch. Bar: at least 0.9 times as
fast as from local shards. Run it alone: ``python benchmarks/shards.py``; it takes five minutes. It needs ``pip install
webdataset`` and ``'dit-run[remote]'``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import io
import re
import shutil
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from decode import photograph
from measuring import Bar, Report, Table, child_process, finish, in_turn, medians, parser, ratio

from dit_run.data.images import read_image
from dit_run.data.remote_shards import RemoteShards
from dit_run.data.samples import Samples, choose
from dit_run.data.shard_cache import ShardCache
from dit_run.protocols import FilePart
from dit_run.registry.kind_options import DatasetCommon
from dit_run.training.shards_ahead import ShardsAhead

SHARDS, EACH, DIFFERENT = 12, 120, 40
BATCH, SIZE, WINDOW = 20, 256, 3
LATENCY = 0.05
COMMON = DatasetCommon(image_size=SIZE, num_samples=None, train_split=1.0)


def write(folder: Path) -> None:
    """Write the images to a folder and to shards, with captions."""
    images = []
    for number in range(DIFFERENT):
        stream = io.BytesIO()
        photograph(number).save(stream, "JPEG", quality=85)
        images.append(stream.getvalue())
    (folder / "images").mkdir()
    (folder / "shards").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / "shards" / f"{shard:02d}.tar", "w") as archive:
            for number in range(shard * EACH, (shard + 1) * EACH):
                for suffix, content in ((".jpg", images[number % DIFFERENT]), (".txt", b"a caption")):
                    (folder / "images" / f"{number:06d}{suffix}").write_bytes(content)
                    member = tarfile.TarInfo(f"{number:06d}{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Encoded(FilePart):
    """The bytes of an image."""

    data: bytes
    place = ""

    def read(self) -> bytes:
        return self.data


def tar_samples(path: str, cache: ShardCache | None = None, window: int | None = WINDOW) -> Samples:
    from dit_run_plugins.datasets.webdataset import WebDataset, build

    return choose(build(WebDataset(dataset_path=path), shard_cache=cache), replace(COMMON, shuffle_window=window), 1)[0]


def positions(first: int, end: int) -> Iterator[list[int]]:
    return (list(range(start, start + BATCH)) for start in range(first, end, BATCH))


def reading(samples: Samples) -> Callable[[], None]:
    """Return a function that reads the next images."""
    turns = iter(range(10**6))

    def read() -> None:
        first = next(turns) * 8 * BATCH
        for batch in positions(first, first + 8 * BATCH):
            samples.read(batch, samples.pixels)

    return read


def reading_webdataset(shards: list[Path]) -> Callable[[], None]:
    import webdataset

    data = webdataset.WebDataset([str(path) for path in shards], shardshuffle=False)
    pairs = data.to_tuple("jpg", "txt").repeat()  # its option repeat=True ends after an epoch
    images = iter(pairs.map(lambda pair: read_image(Encoded(pair[0]), (SIZE, SIZE))))

    def read() -> None:
        for _ in range(8 * BATCH):
            next(images)

    return read


def local(folder: Path) -> dict[str, Callable[[], None]]:
    from dit_run_plugins.datasets.custom import Custom, build

    files = choose(build(Custom(dataset_path=str(folder / "images"))), COMMON, 1)[0]
    return {
        "dit-run, tar shards in windows": reading(tar_samples(str(folder / "shards"))),
        "dit-run, tar shards in any order": reading(tar_samples(str(folder / "shards"), window=None)),
        "dit-run, folder": reading(files),
        "webdataset": reading_webdataset(sorted((folder / "shards").iterdir())),
    }


def serve(link: Connection, folder: Path) -> None:
    """Serve the files of a folder until the other process says so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(LATENCY)
            data = (folder / self.path.lstrip("/")).read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            part = data[int(wanted[1]) : int(wanted[2]) + 1] if wanted else data
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(part)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    link.send(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    link.recv()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    with child_process(serve, folder) as link:
        yield f"http://127.0.0.1:{link.recv()}"
        link.send("end")


def epoch(samples: Samples) -> float:
    """Return the seconds to read an epoch without its first window."""
    batches = list(positions(0, SHARDS * EACH))
    loaded = (samples.read(batch, samples.pixels) for batch in batches)
    remote = RemoteShards.of(samples)
    if remote is None:
        return _timed(loaded)
    with ShardsAhead(remote, batches) as ahead:
        return _timed(ahead.counted(loaded))


def _timed(loaded: Iterator[object]) -> float:
    deque(islice(loaded, WINDOW * EACH // BATCH), maxlen=0)
    began = time.perf_counter()
    deque(loaded, maxlen=0)
    return time.perf_counter() - began


def by_http(folder: Path, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {"local": [], "http": []}
    size = sum(path.stat().st_size for path in (folder / "shards").iterdir())
    with server(folder / "shards") as url:
        for number in range(rounds):
            cache = ShardCache.of(folder / f"cache{number}", round(size * (2 * WINDOW + 1) / SHARDS))
            remote = tar_samples(f"{url}/{{00..{SHARDS - 1:02d}}}.tar", cache)
            shutil.rmtree(cache.folder, ignore_errors=True)  # copies of the index
            pair = {"local": tar_samples(str(folder / "shards")), "http": remote}
            for name in sorted(pair, reverse=number % 2 == 0):  # in turns, first and second
                taken[name].append(epoch(pair[name]))
    return taken


def report(near: dict[str, list[float]], far: dict[str, list[float]]) -> Report:
    images = 8 * BATCH
    head = ["reader", "images per second of one core"]
    tables = [Table(head, [[name, f"{images / seconds:.0f}"] for name, seconds in medians(near).items()])]
    rest = (SHARDS - WINDOW) * EACH
    rows = [[name, f"{rest / seconds:.0f}"] for name, seconds in medians(far).items()]
    tables.append(Table(["shards", "images per second after the first window"], rows))
    ours, any_order = near["dit-run, tar shards in windows"], near["dit-run, tar shards in any order"]
    bars = [
        Bar("tar shards in windows, dit-run ÷ webdataset", ratio(near["webdataset"], ours), 1.0),
        Bar("tar shards in any order, dit-run ÷ webdataset", ratio(near["webdataset"], any_order), 1.0),
        Bar("dit-run, tar shards ÷ folder", ratio(near["dit-run, folder"], ours), 0.95),
        Bar("dit-run, HTTP with 50 ms ÷ local, after the first window", ratio(far["local"], far["http"]), 0.9),
    ]
    note = f"Versions of the packages of shards: webdataset {version('webdataset')}, fsspec {version('fsspec')}."
    return Report("Reading tar shards", tables, bars, [note])


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "home")
        write(folder)
        near = in_turn(local(folder), arguments.rounds, clock=time.process_time)
        far = by_http(folder, arguments.rounds)
    return finish(report(near, far), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
