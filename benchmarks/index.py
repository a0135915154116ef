"""Indexing a million COCO captions: seconds, and the most memory; and what a batch costs as the data grows.

Bars: under 60 s and 1 GiB; the cost of a batch does not depend on the number of samples. The captions file is made in a
temporary folder with as many (empty) image files as it names. Run alone: ``python benchmarks/index.py [CAPTIONS]``;
about 40 s, most of it spent making the files.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CAPTIONS_PER_IMAGE = 5


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


def measure(root: Path) -> None:
    """Index, split and order; prints one row of the table. Runs in a process of its own, for its memory."""
    from dit_run.data.samples import choose
    from dit_run.settings import DatasetCommon
    from dit_run_plugins.datasets.coco import Coco, build

    before = _peak_mib()
    start = time.perf_counter()
    dataset = build(Coco(dataset_path=str(root)))
    indexed = time.perf_counter()
    train, _ = choose(dataset, DatasetCommon(num_samples=None), seed=42)
    chosen = time.perf_counter()
    visits = train.visits(range(96))
    captions = sum(len(dataset[index].captions) for index in range(len(dataset)))
    print(f"| captions | {captions:,} of {len(dataset):,} images, {len(visits)} visited |")
    print(f"| index | {indexed - start:.1f} s |")
    print(f"| split and order | {chosen - indexed:.1f} s |")
    print(f"| peak memory | {_peak_mib():.0f} MiB, {before:.0f} of them before |")


def show_order() -> None:
    """Which samples and captions stand at a batch of positions, for growing data."""
    import numpy as np

    from dit_run.data.order import Order

    print("\n| samples | µs for the order of a batch of 96 |\n|---|---|")
    for size in (10**3, 10**4, 10**5, 10**6, 10**7):
        order, times = Order(size, 42), []
        for turn in range(200):
            positions = np.arange(96) + turn * 7919 * 96
            start = time.perf_counter()
            epochs, indices = order.visits(positions)
            order.captions(epochs, indices, 5)
            times.append(time.perf_counter() - start)
        print(f"| {size:,} | {statistics.median(times) * 1e6:.0f} |")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    captions = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        # Both in processes of their own: a child's peak memory begins with its parent's.
        subprocess.run([sys.executable, __file__, "--make", folder, str(captions)], check=True)
        print("| what | value |\n|---|---|", flush=True)
        subprocess.run([sys.executable, __file__, "--measure", folder], check=True)
    show_order()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--make", folder, captions]:
            make(Path(folder), int(captions))
        case ["--measure", folder]:
            measure(Path(folder))
        case _:
            main()
