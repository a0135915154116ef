"""Random batches from the cache, compared with the same records as Array2D of Hugging Face's `datasets`.

Records are latents of images of 256 pixels: mean and standard deviation, 4 x 32 x 32 values of 16 bits each. They are
in the page cache and read as the loader reads them. A record is verified at its first read in a process. Timed are the
first batch after opening (it maps memory), an epoch of first reads, and later reads. Bars: a batch of 96 of 12,288
records in at most 1 ms and at least 10 times faster than `datasets` (skipped if it is not installed); latents and
caption states of a COCO sample in at most 40 KB. Run it alone: ``python benchmarks/cache.py``; it takes one minute.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Bar, Report, Table, finish, in_turn, medians, parser, ratio

from dit_run.cache.builder import cache_bytes
from dit_run.cache.lookup import LatentCache
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer
from dit_run.data.visits import Visit

BATCH = 96
SHAPE = (4, 32, 32)
COCO_TOKENS = 13.5
"""Mean length of a COCO caption in CLIP tokens, start and end token included."""
OPENING, FIRST = "dit-run, first batch of a process", "dit-run, first read of each record"
AGAIN, PEER = "dit-run, second read of each record", "datasets, Array2D"


def records(count: int) -> torch.Tensor:
    """Return random latents, float16 [count, 2, c, h, w]."""
    return torch.randn(count, 2, *SHAPE, generator=torch.Generator().manual_seed(0)).half()


def ours(root: Path, values: torch.Tensor) -> Callable[[], LatentCache]:
    """Write the records, and return a function that opens them as a run does, with no record verified yet."""
    space = Space.of(root, "latents", {"benchmark": 1})
    keys = [hashlib.sha256(index.to_bytes(8, "little")).digest() for index in range(len(values))]
    with Writer(space, torch.float16) as writer:
        for key, record in zip(keys, values, strict=True):
            writer.add(key, record)

    def opened() -> LatentCache:
        kept = Records.open(space)
        return LatentCache((kept,), np.arange(len(values)), (kept.find(keys),), {}, SHAPE, torch.float16)

    return opened


def theirs(root: Path, values: torch.Tensor) -> Any:
    """Return the records as a `datasets` table on disk that reads torch tensors."""
    import datasets

    features = datasets.Features({"latents": datasets.Array2D((2 * SHAPE[0], SHAPE[1] * SHAPE[2]), "float16")})
    rows = values.reshape(len(values), 2 * SHAPE[0], -1).numpy()
    table = datasets.Dataset.from_dict({"latents": list(rows)}, features=features)
    table.save_to_disk(str(root / "table"))
    return datasets.load_from_disk(str(root / "table")).with_format("torch")


def gather(cache: LatentCache, visits: list[Visit]) -> Any:
    """Read a batch as the loader does."""
    return cache.gather([cache.find(visit) for visit in visits])


def measure(count: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of random batches. No record is read twice, so ``count`` must exceed ``BATCH * rounds``."""
    values, rng = records(count), np.random.default_rng(0)
    visits = [Visit(index, str(index), "", Path(), False, 0.5) for index in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        opened = ours(Path(folder), values)
        peer = theirs(Path(folder), values) if importlib.util.find_spec("datasets") else None
        warm, epoch = opened(), opened()
        gather(warm, visits)
        # Opening and random order are not part of the measured time.
        fresh = iter([opened() for _ in range(rounds + 1)])
        batches = rng.permutation(count)[: BATCH * (rounds + 1)].reshape(rounds + 1, BATCH).tolist()
        calls: dict[str, Callable[[Iterator[Any]], object]] = {
            OPENING: lambda batch: gather(next(fresh), next(batch)),
            FIRST: lambda batch: gather(epoch, next(batch)),
            AGAIN: lambda batch: gather(warm, next(batch)),
        }
        shown = {name: iter([[visits[index] for index in batch] for batch in batches]) for name in calls}
        if peer is not None:
            calls[PEER], shown[PEER] = lambda batch: peer[next(batch)]["latents"], iter(batches)
        return in_turn({name: partial(call, shown[name]) for name, call in calls.items()}, rounds)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--records", type=int, default=12288)
    options.add_argument("--rounds", type=int, default=120)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    taken = measure(arguments.records, arguments.rounds)
    rows = [[name, f"{1e3 * median:.3f}", f"{1e3 * min(taken[name]):.3f}"] for name, median in medians(taken).items()]
    batch = f"{BATCH} of {arguments.records:,} records"
    bars = [Bar(f"{batch}: {name}", 1e3 * medians(taken)[name], 1.0, "ms", at_most=True) for name in (FIRST, AGAIN)]
    if PEER in taken:
        bars += [
            Bar(f"{batch}: time of datasets ÷ time of {name}", ratio(taken[PEER], taken[name]), 10)
            for name in (FIRST, AGAIN)
        ]
    bars += [Bar(f"latents and caption states of a COCO sample, width {width}", size(width), 40, "KB", at_most=True)
             for width in (512, 768)]  # fmt: skip
    return finish(Report("Reading the cache", [Table([batch, "ms, median", "ms, minimum"], rows)], bars), arguments)


def size(width: int) -> float:
    """Return the size of a sample in KB, in bfloat16: mean, deviation, caption tokens and pooled vector."""
    latents, states = int(np.prod(SHAPE)), {"width": width, "pooled_width": width, "tokens": COCO_TOKENS}
    return cache_bytes(torch.bfloat16, images=1, latent_values=latents, captions=1, **states) / 1e3


if __name__ == "__main__":
    raise SystemExit(main())
