"""Tar shards by the million: time to index them, time to open known ones, and time per step as the data grow.

Measured is processor time of one process, so that other work on the machine does not count. Bars: an index of a million
samples in 100 shards takes at most 60 s and 1 GiB; ten million known samples open in at most 1 s; the samples of a step
of ten million, in windows of shards and in buckets, are found in at most 1.5 times the time of ten thousand. The shards
to index hold small JPEGs; those of known samples are empty files, and what a first opening keeps of them is written
directly, with drawn hashes. Run it alone: ``python benchmarks/shard_index.py``; it takes five minutes and 4 GB of disk.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Bar, Report, Table, finish, in_turn, medians, parser, ratio
from PIL import Image

SHARDS = 100
BATCH = 96
SIZES = (10**4, 10**5, 10**6, 10**7)
WINDOW, BUCKETS, SEED = 8, 9, 42
CAPTION = b"a caption of usual length "


def write_shards(folder: Path, samples: int) -> None:
    """Write shards of one small JPEG each sample, with a caption."""
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "JPEG")
    image = stream.getvalue()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(samples // SHARDS):
                for suffix, content in ((".jpg", image), (".txt", CAPTION)):
                    member = tarfile.TarInfo(f"{number:08d}{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def write_known(folder: Path, samples: int) -> None:
    """Write empty shards, and all that is kept after the first opening of as many samples as they would have."""
    from xxhash import xxh3_128_hexdigest

    from dit_run.data import sample_index, splits
    from dit_run.data.column_files import Columns
    from dit_run.data.kept_columns import kept
    from dit_run_plugins.datasets.shard_files import shards_of
    from dit_run_plugins.datasets.webdataset import TarShard, WebDataset, build

    for shard in range(SHARDS):
        (folder / f"{shard:03d}.tar").touch()
    columns = _columns(samples // SHARDS)
    for source in shards_of(str(folder), ".tar", None):
        kept(TarShard(source, False).identity, lambda: columns)
    identity = build(WebDataset(dataset_path=str(folder))).identity
    drawn = np.random.default_rng(0)
    chosen = drawn.permutation(samples)
    train, validation = chosen[samples // 10 :], chosen[: samples // 10]
    kept(
        ["split", splits._VERSION, identity, SEED, None, 0.9, True],
        lambda: Columns({"train": np.sort(train), "validation": validation}),
    )
    hashes = np.sort(drawn.integers(0, 2**63, 2 * len(train), dtype=np.uint64))
    content = {"hashes": hashes, "digest": np.frombuffer(b"0" * 64, np.uint8)}
    indices = xxh3_128_hexdigest(np.sort(train).data)
    kept(["samples", sample_index._VERSION, identity, indices], lambda: Columns(content))


def _columns(samples: int) -> Any:
    from dit_run.data.column_files import Columns
    from dit_run.data.texts import Texts

    numbers = np.arange(samples, dtype=np.int64)
    digits = (numbers[:, None] // 10 ** np.arange(7, -1, -1) % 10 + ord("0")).astype(np.uint8)
    names = np.concatenate([digits, np.tile(np.frombuffer(b".jpg", np.uint8), (samples, 1))], axis=1)
    captions = np.tile(np.frombuffer(CAPTION, np.uint8), samples)
    none = Texts.of([])
    return Columns(
        {
            **Texts(names.reshape(-1), (numbers + 1) * names.shape[1]).packed("names"),
            "offsets": numbers * 2048,
            "sizes": np.full(samples, 1000, dtype=np.int64),
            "dimensions": np.tile(np.array([30, 40], dtype=np.int32), samples),
            **Texts(captions, (numbers + 1) * len(CAPTION)).packed("captions"),
            "weights": np.ones(samples),
            "starts": np.arange(samples + 1, dtype=np.int64),
            "scalars": np.empty(0),
            **none.packed("without_caption"),
            **none.packed("without_image"),
        }
    )


def opened(folder: Path) -> tuple[Any, dict[str, float]]:
    """Open shards as a run does; return the training samples, seconds and peak memory."""
    from dit_run.data.sample_index import SampleIndex
    from dit_run.data.samples import choose
    from dit_run.data.shard_indices import indices_of
    from dit_run.registry.kind_options import DatasetCommon
    from dit_run_plugins.datasets.shard_files import shards_of
    from dit_run_plugins.datasets.webdataset import TarShard, WebDataset, build

    start, began = time.perf_counter(), time.process_time()
    indices_of([TarShard(source, False) for source in shards_of(str(folder), ".tar", None)], workers=1)
    indexed = time.process_time()
    dataset = build(WebDataset(dataset_path=str(folder)))
    train, _ = choose(dataset, DatasetCommon(num_samples=None, shuffle_window=WINDOW), seed=SEED)
    len(SampleIndex.of(train).digest)
    train.visits(range(BATCH))
    wall, whole = time.perf_counter() - start, time.process_time() - began
    memory: float = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return train, {"index": indexed - began, "whole": whole, "wall": wall, "memory": memory}


def steps(train: Any, buckets: bool) -> Callable[[], object]:
    """Return a function that finds the samples of the next step."""
    from dataclasses import replace

    from dit_run.data.samples import BucketedSizes

    if buckets:
        numbers = np.random.default_rng(0).integers(0, BUCKETS, len(train))
        sizes = tuple((64, 64 + 8 * number) for number in range(BUCKETS))
        train = replace(train, sizes=BucketedSizes(sizes, numbers), batch_size=BATCH)
    turns = count()
    return lambda: train.visits(range((start := next(turns) * 7919 * BATCH), start + BATCH))


def measure(folder: Path) -> dict[str, Any]:
    train, found = opened(folder)
    taken = in_turn({name: steps(train, name == "buckets") for name in ("windows", "buckets")}, 100, warm_up=20,
                    clock=time.process_time)  # fmt: skip
    return {**found, "steps": taken}


def child(folder: Path, task: str, samples: int) -> dict[str, Any]:
    """Run a task of this script in a process of its own, with its own cache."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--samples", str(samples)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    result: dict[str, Any] = json.loads(said)
    return result


def report(built: dict[str, Any], samples: int, known: dict[int, dict[str, Any]]) -> Report:
    rows = [_row(f"{samples:,} samples in {SHARDS} shards, not known", built)]
    rows += [_row(f"{size:,} known samples", found) for size, found in known.items()]
    opening = Table(["opening", "processor time, s", "seconds", "peak memory, GiB"], rows)
    curve = Table(
        ["samples", f"a step of {BATCH} in windows, µs", "in windows and buckets, µs"],
        [
            [f"{size:,}", *(f"{1e6 * each:.0f}" for each in medians(again["steps"]).values())]
            for size, again in known.items()
        ],
    )
    least, most = known[min(known)]["steps"], known[max(known)]["steps"]
    bars = [
        Bar(f"processor time to index {samples:,} samples", built["index"], 60, "s", at_most=True),
        Bar("peak memory of indexing", built["memory"], 1, "GiB", at_most=True),
        Bar(f"processor time to open {max(known):,} known samples", known[max(known)]["whole"], 1, "s", at_most=True),
        *(
            Bar(f"step in {name}, {max(known):,} ÷ {min(known):,}", ratio(most[name], least[name]), 1.5, at_most=True)
            for name in ("windows", "buckets")
        ),
    ]  # fmt: skip
    return Report("Tar shards by the million", [opening, curve], bars)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    return [name, f"{found['whole']:.2f}", f"{found['wall']:.2f}", f"{found['memory']:.2f}"]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, default=10**6, help="samples to index")
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of known samples")
    options.add_argument("--task", choices=["write", "known", "measure"], help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.task:
        tasks = {"write": write_shards, "known": write_known}
        if arguments.task in tasks:
            tasks[arguments.task](arguments.folder, arguments.samples)
        print(json.dumps(measure(arguments.folder) if arguments.task == "measure" else {}))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        child(Path(folder), "write", arguments.samples)
        built = child(Path(folder), "measure", arguments.samples)
    known: dict[int, dict[str, Any]] = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            child(Path(folder), "known", size)
            known[size] = child(Path(folder), "measure", size)
    return finish(report(built, arguments.samples, known), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
