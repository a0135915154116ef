"""Reading a JPEG of 500 × 375 to 256 px: ours, and plain Pillow, on one core.

Bars: at least 2.6 times plain Pillow; mean absolute difference from Pillow's crop-then-bicubic at most 0.5 of 255.
The pictures are made here, with grey detail of every scale and smooth colours, as in photographs, and saved with
quality 80 and 4:2:0 colour. Files with more detail gain less: both spend more of their time on Huffman decoding, alike.
Runs are interleaved; medians of processor time. Run alone: ``python benchmarks/decode.py [FOLDER OF JPEGS]``; 10 s.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dit_run.data.images import decoder, read_image

SIZE = 256
ROUNDS = 15


def photograph(seed: int) -> Image.Image:
    """500 × 375, RGB: noise of every scale, weaker and without colour where it is fine."""
    random, total = np.random.default_rng(seed), np.zeros((375, 500, 3))
    for cells in (2, 4, 8, 16, 32, 64, 128, 256):
        colours = 3 if cells < 64 else 1
        noise = random.integers(0, 256, (cells, cells, colours), dtype=np.uint8).repeat(3 // colours, axis=2)
        smooth = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        total += np.asarray(smooth, dtype=float) / cells**0.4
    total -= total.min()
    return Image.fromarray((total / total.max() * 255).astype(np.uint8))


def plain_pillow(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side + 1) // 2, (rgb.height - side + 1) // 2
    square = rgb.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def ours(path: Path) -> NDArray[np.uint8]:
    return read_image(path, SIZE)


def timed(read: Callable[[Path], object], paths: list[Path]) -> float:
    """Milliseconds of processor time a picture."""
    start = time.process_time()
    for path in paths:
        read(path)
    return (time.process_time() - start) / len(paths) * 1000


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(Path(sys.argv[1]).glob("*.jpg"))[:100] if len(sys.argv) > 1 else made(Path(folder))
        size = np.mean([path.stat().st_size for path in paths])
        apart = [np.abs(ours(path).astype(int) - plain_pillow(path)).mean() for path in paths]
        rounds = [(timed(plain_pillow, paths), timed(ours, paths)) for _ in range(ROUNDS)]
    plain, own = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(first / second for first, second in rounds)
    print(f"{decoder()}; {len(paths)} pictures of {size / 1000:.0f} kB\n")
    print("| reader | ms a picture |\n|---|---|")
    print(f"| plain Pillow | {plain:.2f} |\n| dit-run | {own:.2f} |\n")
    print(
        f"{ratio:.2f} times (bar 2.6); mean difference {np.mean(apart):.3f}, at most {max(apart):.3f} of 255 (bar 0.5)"
    )
    return 0 if ratio >= 2.6 and np.mean(apart) <= 0.5 else 1


def made(folder: Path) -> list[Path]:
    paths = [folder / f"{seed}.jpg" for seed in range(40)]
    for seed, path in enumerate(paths):
        photograph(seed).save(path, quality=80)
    return paths


if __name__ == "__main__":
    sys.exit(main())
