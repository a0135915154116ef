"""Random batches from the cache, beside the same records as Array2D of Hugging Face's `datasets`.

Records are latents of 256 px pictures, mean and standard deviation of 4 x 32 x 32 each in 16 bits, in the page cache.
Bars: a batch of 96 of 12,288 checked records in at most 1 ms and at least 10 times quicker than `datasets` (left out
where it is not installed); latents and states of a COCO caption in at most 40 KB. Run alone:
``python benchmarks/cache.py [--records 12288]``; about a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dit_run.cache.build import forecast
from dit_run.cache.read import LatentCache
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer

BATCH = 96
SHAPE = (4, 32, 32)
COCO_TOKENS = 13.5
"""Mean length of a COCO caption in CLIP's tokens, both markers included."""
Read = Callable[[Sequence[int]], Any]


def records(count: int) -> torch.Tensor:
    """Made-up latents, float16 [count, 2, c, h, w]."""
    return torch.randn(count, 2, *SHAPE, generator=torch.Generator().manual_seed(0)).half()


def ours(root: Path, values: torch.Tensor) -> Callable[[], LatentCache]:
    """Write the records; the function opens them as a run does, nothing of them checked yet."""
    space = Space.of(root, "latents", {"benchmark": 1})
    keys = [hashlib.sha256(index.to_bytes(8, "little")).digest() for index in range(len(values))]
    with Writer(space, torch.float16) as writer:
        for key, record in zip(keys, values, strict=True):
            writer.add(key, record)

    def opened() -> LatentCache:
        kept = Records.open(space)
        return LatentCache((kept,), np.arange(len(values)), (kept.find(keys),), {}, SHAPE, torch.float16)

    return opened


def theirs(root: Path, values: torch.Tensor) -> Read:
    """The records as a `datasets` table on disk, read as torch tensors."""
    import datasets

    features = datasets.Features({"latents": datasets.Array2D((2 * SHAPE[0], SHAPE[1] * SHAPE[2]), "float16")})
    rows = values.reshape(len(values), 2 * SHAPE[0], -1).numpy()
    table = datasets.Dataset.from_dict({"latents": list(rows)}, features=features)
    table.save_to_disk(str(root / "table"))
    loaded = datasets.load_from_disk(str(root / "table")).with_format("torch")
    return lambda indices: loaded[list(indices)]["latents"]


def gather(cache: LatentCache, indices: Sequence[int]) -> Any:
    """A batch as the loader reads it."""
    return cache.gather([cache.find(index) for index in indices])


def milliseconds(read: Read, indices: Sequence[int]) -> float:
    began = time.perf_counter()
    read(indices)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=12288)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    values, rng = records(arguments.records), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        opened = ours(Path(folder), values)
        peer = theirs(Path(folder), values) if importlib.util.find_spec("datasets") else None
        warm = opened()
        gather(warm, range(arguments.records))
        times: dict[str, list[float]] = {"dit-run, first read (checks)": [], "dit-run, checked": [], "datasets": []}
        for _ in range(arguments.rounds):
            batch = rng.choice(arguments.records, BATCH, replace=False).tolist()
            fresh = opened()
            times["dit-run, first read (checks)"].append(milliseconds(lambda b, c=fresh: gather(c, b), batch))
            times["dit-run, checked"].append(milliseconds(lambda b: gather(warm, b), batch))
            if peer is not None:
                times["datasets"].append(milliseconds(peer, batch))
    print(f"{'batch of ' + str(BATCH) + ' of ' + str(arguments.records):<32}{'median ms':>10}{'best ms':>10}")
    for name, measured in times.items():
        if measured:
            print(f"{name:<32}{statistics.median(measured):>10.3f}{min(measured):>10.3f}")
    for name in list(times)[:2] if times["datasets"] else ():
        ratio = statistics.median(times["datasets"]) / statistics.median(times[name])
        print(f"datasets / {name}: {ratio:.1f}")
    for width in (512, 768):
        latents = forecast(pictures=1, captions=0, latent_values=4096, width=0, pooled_width=0, dtype=torch.bfloat16)
        size = latents + (COCO_TOKENS + 1) * width * 2
        print(f"record of a COCO caption at 256 px, {width} wide: {size / 1e3:.1f} KB")


if __name__ == "__main__":
    main()
