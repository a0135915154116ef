"""The start of a run whose cache is complete, by the number of samples: CPU time, and memory of a process.

Each start is that of a new process, which trains two steps. The first start on some data looks at every sample; what it
finds is kept. The next ones read what was kept: bars are at most 5 s and 200 MiB more with ten million samples than
with ten thousand. Latents have a few numbers, and images are not decoded, so that the framework alone is measured. CPU
time is that of a process and its worker, which other work on the machine changes little; memory is the largest of both.
``python benchmarks/warm_start.py`` takes an hour, nearly all of it to write the cache and for first starts, and 5 GB of
disk.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Bar, Report, Table, finish, parser

SIZES = (10**4, 10**5, 10**6, 10**7)
IMAGE_BYTES = 16
SHARD = 1 << 20
"""Records in a shard of the cache."""

CONFIG = """
plugins: [{plugin}]
data: {{type: numbered, path: {folder}/images, image_bytes: {image_bytes}, image_size: 16,
        buckets: [16x16, 24x8, 8x24], num_samples: null, train_split: 0.99}}
model: {{hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 1, in_channels: 3, out_channels: 3}}
vae: {{type: mean_colours}}
text_encoder: {{type: frozen_words, width: 8, num_layers: 1, num_heads: 2, buckets: 16}}
scheduler: {{type: flow_matching}}
training: {{batch_size: 32, max_steps: 2, mixed_precision: "no", num_workers: 1, output_dir: {folder}/run,
            use_ema: false}}
cache: {{dir: {folder}/cache, mode: required}}
trackers: []
lr_scheduler: {{type: constant}}
validation: {{every_n_steps: null}}
sampling: {{every_n_steps: null}}
"""


def write(link: Connection, folder: Path, count: int) -> None:
    """Write the images and the cache of a run on all of them, and send True."""
    images = np.random.default_rng(0).integers(0, 256, (count, IMAGE_BYTES), dtype=np.uint8)
    images.tofile(folder / "images")
    (folder / "config.yaml").write_text(
        CONFIG.format(plugin=Path(__file__).with_name("numbered_samples.py"), folder=folder, image_bytes=IMAGE_BYTES)
    )
    write_latents(folder, images)
    link.send(True)


def write_latents(folder: Path, images: np.ndarray) -> None:
    """Write the latents of all images, zeros, where a run of the config looks for them."""
    import torch

    import dit_run
    from dit_run.assembly.parts import build_encoders
    from dit_run.cache.builder import Build
    from dit_run.cache.latents import spaces_of
    from dit_run.cache.shards import write_shard
    from dit_run.registry.plugin_code import code_digest

    config = dit_run.load_config(folder / "config.yaml")
    vae = build_encoders(config, torch.device("cpu")).vae
    code = code_digest(config.vae.component.factory, vae)
    for number, size in enumerate(((16, 16), (24, 8), (8, 24))):
        (space,) = spaces_of(Build(folder / "cache", None), vae, config.data.common, size, code, "latents")
        own = images[number::3]
        for start in range(0, len(own), SHARD):
            keys = [hashlib.sha256(image).digest() for image in own[start : start + SHARD]]
            records = list(np.zeros((len(keys), 3 * size[0] * size[1] // 64), dtype=np.int32))
            write_shard(space.folder / f"{start:032x}.safetensors", keys, records, torch.float32)


def started(link: Connection, folder: Path, steps: int) -> None:
    """Train up to this number of steps; send the CPU time (s), and the memory of this process and its worker (MiB)."""
    import dit_run

    config = dit_run.load_config(folder / "config.yaml", f"training.max_steps={steps}")
    before, _ = usage()
    dit_run.train(config)
    seconds, memory = usage()
    link.send((seconds - before, memory))


def usage() -> tuple[float, float]:
    """Return the CPU time of this process and its ended children (s), and the largest memory of any so far (MiB)."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used), max(each.ru_maxrss for each in used) / 1024


def measure(count: int) -> list[tuple[float, float]]:
    """Return CPU time and memory of a first start, another one, and one that continues a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "home")
        in_a_process(write, folder, count)
        first = in_a_process(started, folder, 2)
        (folder / "run").rename(folder / "before")
        return [first, in_a_process(started, folder, 2), in_a_process(started, folder, 4)]


def in_a_process(target: Callable[..., None], *arguments: object) -> Any:
    """Return what a new process sends that calls ``target``, and that may have children of its own."""
    context = multiprocessing.get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    sent = link.recv()
    process.join()
    return sent


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples")
    arguments = options.parse_args()
    found = {count: measure(count) for count in arguments.sizes}
    names = ("first start", "next start", "continued run")
    rows = [
        [f"{count:,}", *(cell for seconds, memory in each for cell in (f"{seconds:.1f}", f"{memory:.0f}"))]
        for count, each in found.items()
    ]
    head = ["samples", *(f"{name}, {unit}" for name in names for unit in ("CPU s", "MiB"))]
    least, most = min(found), max(found)
    bars = []
    for place, name in enumerate(names[1:], start=1):
        seconds, memory = (high - low for high, low in zip(found[most][place], found[least][place], strict=True))
        more = f"{name}, {most:,} samples − {least:,}"
        bars += [Bar(f"{more}: CPU time", seconds, 5, "s", at_most=True)]
        bars += [Bar(f"{more}: memory", memory, 200, "MiB", at_most=True)]
    return finish(Report("Start with a complete cache", [Table(head, rows)], bars), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
