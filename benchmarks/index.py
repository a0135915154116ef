"""Indexing a million COCO captions: seconds, and the most memory; and what a batch costs as the data grows.

Bars: under 60 s and 1 GiB; the order of a batch of ten million samples costs at most 1.5 times that of a thousand. The
captions file is made in a temporary folder with as many (empty) image files as it names. Run it alone:
``python benchmarks/index.py``; a minute, most of it spent making the files.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from measuring import Bar, Report, Table, finish, in_turn, medians, parser, ratio

CAPTIONS_PER_IMAGE = 5
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7)
BATCH = 96


def make(root: Path, captions: int) -> None:
    """The genuine layout, with the fields that the genuine files have."""
    images = range(captions // CAPTIONS_PER_IMAGE)
    (root / "annotations").mkdir()
    (root / "train2017").mkdir()
    for number in images:
        (root / "train2017" / f"{number:012d}.jpg").touch()
    content = {
        "info": {"description": "COCO 2017 Dataset", "version": "1.0"},
        "licenses": [{"id": 1, "name": "Attribution License"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{number:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg",
                "height": 375,
                "width": 500,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": f"http://farm9.staticflickr.com/8186/{number}_z.jpg",
                "id": number,
            }
            for number in images
        ],
        "annotations": [
            {
                "image_id": number // CAPTIONS_PER_IMAGE,
                "id": number,
                "caption": f"A picture of the usual length that shows thing number {number}.",
            }
            for number in range(captions)
        ],
    }
    (root / "annotations" / "captions_train2017.json").write_text(json.dumps(content))


def measure(root: Path) -> dict[str, float]:
    """Index, split and order. Runs in a process of its own, for its memory."""
    from dit_run.data.samples import choose
    from dit_run.registry.kinds import DatasetCommon
    from dit_run_plugins.datasets.coco import Coco, build

    start = time.perf_counter()
    dataset = build(Coco(dataset_path=str(root)))
    indexed = time.perf_counter()
    train, _ = choose(dataset, DatasetCommon(num_samples=None), seed=42)
    train.visits(range(BATCH))
    chosen = time.perf_counter()
    return {
        "captions": sum(len(dataset[index].captions) for index in range(len(dataset))),
        "images": len(dataset),
        "index": indexed - start,
        "order": chosen - indexed,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def order_of_batches() -> dict[int, list[float]]:
    """Seconds for which samples and captions stand at a batch of positions, for growing data."""
    return in_turn({size: _next_batch(size) for size in SIZES}, rounds=200)


def _next_batch(size: int) -> Callable[[], object]:
    import numpy as np

    from dit_run.data.order import Order

    order, turns = Order(size, 42), count()

    def batch() -> Any:
        epochs, indices = order.visits(np.arange(BATCH) + next(turns) * 7919 * BATCH)
        return order.captions(epochs, indices, CAPTIONS_PER_IMAGE)

    return batch


def report(found: dict[str, float], taken: dict[int, list[float]]) -> Report:
    index = Table(
        [f"{found['captions']:,} captions of {found['images']:,} images", "seconds", "GiB at most"],
        [
            ["index", f"{found['index']:.1f}", ""],
            ["split, and the first batch", f"{found['order']:.1f}", f"{found['memory']:.2f}"],
        ],
    )
    rows = [[f"{size:,}", f"{1e6 * seconds:.0f}"] for size, seconds in medians(taken).items()]
    order = Table(["samples", f"µs for the order of a batch of {BATCH}"], rows)
    growth = ratio(taken[SIZES[-1]], taken[SIZES[0]])
    bars = [
        Bar("indexing a million captions", found["index"] + found["order"], 60, "s", at_most=True),
        Bar("its memory", found["memory"], 1, "GiB", at_most=True),
        Bar(f"a batch of {SIZES[-1]:,} samples takes, of one of {SIZES[0]:,}", growth, 1.5, at_most=True),
    ]
    return Report("Indexing, and order", [index, order], bars)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--captions", type=int, default=1_000_000)
    options.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.make:
        make(arguments.make, arguments.captions)
        return 0
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        # Both in processes of their own: a child's peak memory begins with its parent's.
        own = [sys.executable, __file__, f"--captions={arguments.captions}"]
        subprocess.run([*own, "--make", folder], check=True)
        found = subprocess.run([*own, "--measure", folder], check=True, stdout=subprocess.PIPE).stdout
    return finish(report(json.loads(found), order_of_batches()), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
