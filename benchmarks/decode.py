"""Reading a JPEG of 500 × 375 at 256 pixels: dit-run compared with plain Pillow, on one core.

The images are generated, with grey detail of every scale and smooth colours as in photographs, and saved with 4:2:0
colour in several qualities. Larger files gain less, because both readers spend more of their time on the same Huffman
decoding. Measured is processor time, in turns. Bars: at least 2.6 times as fast as plain Pillow at the first quality;
mean absolute difference from Pillow's crop and bicubic resize at most 0.5 of 255 at every quality. Run it alone:
``python benchmarks/decode.py``; it takes half a minute.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from measuring import Bar, Report, Table, finish, parser, ratio
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from dit_run.data.images import decoder, read_image

SIZE = 256
IMAGES = 40
QUALITIES = (80, 90, 95)
LIMIT = """"Libraries alone" is libjpeg-turbo on a file in memory, followed by torch's resizing of the centre square. A
reader that uses these libraries cannot be faster. Pillow uses the same libjpeg-turbo."""
Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Found:
    size: float
    """Mean file size (kB)."""
    pillow: float
    """Time per image (ms)."""
    ours: float
    least: float
    """Time per image of decoding and resizing alone (ms)."""
    ratio: float
    apart: float
    """Mean absolute difference (of 255)."""

    def row(self) -> list[str]:
        times = [f"{each:.2f}" for each in (self.pillow, self.ours, self.least, self.ratio)]
        return [f"{self.size:.0f}", *times, f"{self.apart:.3f}"]


def photograph(seed: int) -> Image.Image:
    """Return an RGB image of 500 × 375: noise of every scale; fine noise is weaker and grey."""
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
    return read_image(path, (SIZE, SIZE))


def made(folder: Path, quality: int) -> list[Path]:
    paths = [folder / f"{quality}-{seed}.jpg" for seed in range(IMAGES)]
    for seed, path in enumerate(paths):
        photograph(seed).save(path, quality=quality)
    return paths


@cache
def content(path: Path) -> bytes:
    return path.read_bytes()


@cache
def room() -> NDArray[np.uint8]:
    """Return a buffer large enough for these images."""
    return np.empty(3 * 500 * 375, dtype=np.uint8)


def libraries(path: Path) -> object:
    """Decode with libjpeg-turbo and resize with torch, and nothing else."""
    pixels = simplejpeg.decode_jpeg(content(path), buffer=room())
    height, width, _ = pixels.shape
    side = min(height, width)
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    square = torch.from_numpy(pixels[top : top + side, left : left + side]).permute(2, 0, 1)[None]
    return interpolate(square, size=(SIZE, SIZE), mode="bicubic", antialias=True)


def timed(read: Callable[[Path], object], paths: list[Path]) -> float:
    """Return the processor time per image (ms)."""
    began = time.process_time()
    for path in paths:
        read(path)
    return 1e3 * (time.process_time() - began) / len(paths)


def apart(path: Path) -> float:
    return float(np.abs(ours(path).astype(int) - plain_pillow(path)).mean())


def measure(paths: list[Path], rounds: int) -> Found:
    """Measure each reader in its own new process, as a data loading worker runs."""
    context = multiprocessing.get_context("spawn")
    taken: dict[Reader, list[float]] = {plain_pillow: [], ours: [], libraries: []}
    with contextlib.ExitStack() as stack:
        pools = {
            read: stack.enter_context(ProcessPoolExecutor(1, mp_context=context, initializer=one_thread))
            for read in taken
        }
        for number in range(-1, rounds):
            for read, pool in pools.items():
                spent = pool.submit(timed, read, paths).result()
                taken[read] += [spent] if number >= 0 else []
    pillow, own, alone = taken.values()
    size = statistics.mean(path.stat().st_size for path in paths) / 1e3
    difference = statistics.mean(map(apart, paths))
    return Found(
        size,
        statistics.median(pillow),
        statistics.median(own),
        statistics.median(alone),
        ratio(pillow, own),
        difference,
    )


def one_thread() -> None:
    torch.set_num_threads(1)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="read these JPEG files instead")
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.folder:
            kinds = {"those given": sorted(arguments.folder.glob("*.jpg"))[:100]}
        else:
            kinds = {f"quality {quality}": made(Path(folder), quality) for quality in QUALITIES}
        found = {kind: measure(paths, arguments.rounds) for kind, paths in kinds.items()}
    rows = [[kind, *each.row()] for kind, each in found.items()]
    usual = next(iter(found.values()))
    bars = [
        Bar("time of plain Pillow ÷ time of dit-run, one core", usual.ratio, 2.6),
        Bar(
            "mean difference from plain Pillow", max(each.apart for each in found.values()), 0.5, "of 255", at_most=True
        ),
    ]
    head = ["images", "kB each", "Pillow, ms", "dit-run, ms", "libraries alone, ms", "ratio", "mean difference"]
    return finish(
        Report(
            "Reading JPEG files of 500 × 375 at 256 px", [Table(head, rows)], bars, [LIMIT, f"Decoders: {decoder()}."]
        ),
        arguments,
    )


if __name__ == "__main__":
    raise SystemExit(main())
