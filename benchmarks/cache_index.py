"""Ten million records of a cache: time and memory of a process that opens them, from all shards and by the index.

Records are single numbers, because no record is read to open a cache. Each opening is one of a new process. Bars: by
its index, the cache opens in at most 5 s and 200 MiB. Run it alone: ``python benchmarks/cache_index.py``; it takes two
minutes and 2 GB of disk.
"""

from __future__ import annotations

import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from measuring import Bar, Report, Table, child_process, finish, parser

from dit_run.cache.records import CurrentRecords
from dit_run.cache.shards import KEY_BYTES, write_shard
from dit_run.cache.space import Space

SHARD = 65536
"""Records in a shard: those of a shard of 1 GiB with latents of images of 256 pixels."""
SIZES = (10**6, 10**7)


def write(space: Space, count: int) -> None:
    """Write shards of random keys."""
    rng = np.random.default_rng(0)
    for start in range(0, count, SHARD):
        keys = rng.integers(0, 256, (min(SHARD, count - start), KEY_BYTES), dtype=np.uint8)
        records = list(np.zeros((len(keys), 1), dtype=np.int16))
        write_shard(space.folder / f"{start:032x}.safetensors", [key.tobytes() for key in keys], records, torch.float16)


def opening(link: Connection, space: Space) -> None:
    """Send the seconds of opening the space, and the growth of this process's largest memory (MiB)."""
    before, since = largest_memory(), time.perf_counter()
    CurrentRecords(space).store_index()
    link.send((time.perf_counter() - since, largest_memory() - before))


def largest_memory() -> float:
    """Return the largest resident memory of this process so far (MiB)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> int:
    arguments = parser(__doc__).parse_args()
    rows, seconds, memory = [], 0.0, 0.0
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            space = Space.of(Path(folder), "latents", {"benchmark": count})
            write(space, count)
            for how in ("from its shards, writing the index", "by its index"):
                with child_process(opening, space) as link:
                    seconds, memory = link.recv()
                rows.append([f"{count:,} records, {how}", f"{seconds:.2f}", f"{memory:.0f}"])
    bars = [
        Bar(f"{SIZES[-1]:,} records, by their index: time", seconds, 5, "s", at_most=True),
        Bar(f"{SIZES[-1]:,} records, by their index: memory", memory, 200, "MiB", at_most=True),
    ]
    return finish(Report("Opening the cache", [Table(["", "s", "MiB"], rows)], bars), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
