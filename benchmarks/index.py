"""Time and peak memory of indexing a million COCO captions, and the time to order a batch as the data grows.

Bars: at most 60 s and 1 GiB; ordering a batch of ten million samples takes at most 1.5 times as long as of a thousand.
The captions file and the (empty) image files that it names are written to a temporary folder. Run it alone: ``python
benchmarks/index.py``; it takes one minute, most of it to write the files.
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
    """Write the original layout, with the fields of the original files."""
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
                "caption": f"A caption of the usual length that describes thing number {number}.",
            }
            for number in range(captions)
        ],
    }
    (root / "annotations" / "captions_train2017.json").write_text(json.dumps(content))


def measure(root: Path) -> dict[str, float]:
    """Index, split and order the samples; run in its own process, so that peak memory is its own."""
    from dit_run.data.samples import choose
    from dit_run.registry.kind_options import DatasetCommon
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
    """Return the seconds to find the samples and captions of a batch, by number of samples."""
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
        [f"{found['captions']:,} captions of {found['images']:,} images", "seconds", "peak memory, GiB"],
        [
            ["index", f"{found['index']:.1f}", ""],
            ["split and first batch", f"{found['order']:.1f}", f"{found['memory']:.2f}"],
        ],
    )
    rows = [[f"{size:,}", f"{1e6 * seconds:.0f}"] for size, seconds in medians(taken).items()]
    order = Table(["samples", f"time to order a batch of {BATCH}, µs"], rows)
    growth = ratio(taken[SIZES[-1]], taken[SIZES[0]])
    bars = [
        Bar("time to index a million captions", found["index"] + found["order"], 60, "s", at_most=True),
        Bar("peak memory of indexing", found["memory"], 1, "GiB", at_most=True),
        Bar(f"time to order a batch, {SIZES[-1]:,} samples ÷ {SIZES[0]:,} samples", growth, 1.5, at_most=True),
    ]
    return Report("Indexing and data order", [index, order], bars)


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
        # Each runs in its own process: the peak memory of a child starts at that of its parent.
        own = [sys.executable, __file__, f"--captions={arguments.captions}"]
        subprocess.run([*own, "--make", folder], check=True)
        found = subprocess.run([*own, "--measure", folder], check=True, stdout=subprocess.PIPE).stdout
    return finish(report(json.loads(found), order_of_batches()), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
