"""Pixels lost to cropping with squares and with buckets, and the time per pixel of a training step with each.

The share is the mean over the photographs of COCO and CUB (``--data``, by default ``../shared/data``) of the part of an
image that training at 256 pixels cuts off, from the sizes in their headers. The steps are those of `dit-run train`,
from the cache: look up latents, draw noise, forward, backward, update; a model of 4 layers and width 256 on 48
photographs of COCO, batch 4, 256 patches per square. Squares and buckets take turns; each has its own model, and the
micro-batches of the buckets come in the order of a run.

Bars: buckets lose less than 5 % of the pixels, and a pixel takes at most 1.1 times as long. Run it alone: ``python
benchmarks/buckets.py``; it takes four minutes on two cores.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Bar, Report, Table, finish, in_turn, parser

SQUARES, BUCKETS = "null", "auto"
"""Values of ``data.buckets``."""
SIZE, BATCH, USED = 256, 4, 48
DATA = {"coco": "{data}/coco_subset, subsets: [train2017, val2017]", "cub": "{data}/cub_subset"}
CONFIG = """
data: {{type: {name}, dataset_path: {path}, image_size: {size}, buckets: {buckets}, num_samples: {count},
  train_split: 1.0}}
model: {{hidden_size: 256, num_layers: 4, num_heads: 4}}
vae: {{type: autoencoder_tiny, pretrained_model_name: {data}/weights/taef2}}
text_encoder: {{type: words, width: 64, num_layers: 1, num_heads: 2}}
training: {{batch_size: {batch}, mixed_precision: "no", output_dir: {folder}/run}}
cache: {{dir: {folder}/cache, num_workers: 0}}
"""


def config_of(folder: Path, data: Path, name: str, buckets: str, count: int | None = None) -> Any:
    from dit_run.config.resolve import resolve

    path = folder / f"{name}-{buckets}.yaml"
    where = DATA[name].format(data=data)
    values = {
        "count": count or "null",
        "name": name,
        "path": where,
        "size": SIZE,
        "buckets": buckets,
        "data": data,
        "batch": BATCH,
    }
    path.write_text(CONFIG.format(folder=folder, **values))
    return resolve(path).config


def lost(folder: Path, data: Path, name: str) -> tuple[int, dict[str, float]]:
    """Return the number of images, and the mean share of one that squares and that buckets cut off."""
    from dit_run.assembly.prepare import build_data
    from dit_run.data.aspect_buckets import Buckets
    from dit_run.data.dimensions import sizes_of

    made = build_data(config_of(folder, data, name, BUCKETS))
    heights, widths = sizes_of(made.dataset, np.arange(len(made.dataset))).T
    sizes = {SQUARES: Buckets(((SIZE, SIZE),)), BUCKETS: Buckets.of(made.train.common, 16)}
    shares = {name: own.cropped(heights, widths, own.nearest(heights, widths)) for name, own in sizes.items()}
    return len(heights), {name: float(share.mean()) for name, share in shares.items()}


def steps(folder: Path, data: Path, buckets: str, pixels: list[int]) -> Callable[[], None]:
    """Return a function that does the next step of a run; it appends the number of pixels of a step to a list."""
    from dataclasses import replace

    from dit_run.assembly.prepare import prepare
    from dit_run.cache.open_cache import open_cache
    from dit_run.reporting import Silent
    from dit_run.training.run_parts import RunParts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, found, encoders = prepare(config_of(folder, data, "coco", buckets, USED), device=device)
    how = {"texts": encoders.texts, "vae": encoders.vae, "dtype": encoders.dtype, "reporter": Silent()}
    encoders = replace(encoders, cached=open_cache(config, [found.train], **how))
    parts = RunParts.build(config, found, encoders, device)
    parts.denoiser.train()
    step, visits, encode = parts.training_step(learning_rate_factor=lambda number: 1.0), parts.visits(), parts.encoder()
    numbers = count()

    def advance() -> None:
        number = next(numbers)
        positions = range(number * BATCH, (number + 1) * BATCH)
        step.run(number, [encode(visits.__getitems__(positions))], count=1)
        height, width = found.train.visits(positions[:1])[0].size
        pixels.append(BATCH * height * width)

    return advance


def report(shares: dict[str, tuple[int, dict[str, float]]], taken: dict[str, list[float]]) -> Report:
    """``taken`` holds the seconds per pixel of each step."""
    crops = Table(
        ["photographs", "number", "lost with squares", "lost with buckets"],
        [[name, f"{number:,}", *(f"{share:.1%}" for share in own.values())] for name, (number, own) in shares.items()],
    )
    nanoseconds = {name: 1e9 * statistics.median(times) for name, times in taken.items()}
    slower = statistics.median(taken[BUCKETS]) / statistics.median(taken[SQUARES])
    bars = [Bar(f"{name}: pixels lost with buckets", own[BUCKETS], 0.05, "", True) for name, (_, own) in shares.items()]
    return Report(
        "Aspect-ratio buckets",
        [
            crops,
            Table(
                ["step", "ns per pixel"],
                [["squares", f"{nanoseconds[SQUARES]:.1f}"], ["buckets", f"{nanoseconds[BUCKETS]:.1f}"]],
            ),
        ],
        [*bars, Bar("time per pixel with buckets ÷ with squares", slower, 1.1, at_most=True)],
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="the photographs and weights")
    arguments = options.parse_args()
    data = arguments.data.absolute()
    if not data.is_dir():
        options.error(f"there are no photographs at {data}; name their folder with --data")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shares = {kind: lost(folder, data, kind) for kind in DATA}
        pixels: dict[str, list[int]] = {SQUARES: [], BUCKETS: []}
        taken = in_turn({each: steps(folder, data, each, pixels[each]) for each in pixels}, arguments.rounds, warm_up=9)
    per_pixel = {
        each: [seconds / area for seconds, area in zip(times, pixels[each][9:], strict=True)]
        for each, times in taken.items()
    }
    return finish(report(shares, per_pixel), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
