"""Batches: what stands at each position of a run, read and drawn in any process, laid before the step in order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dit_run.assembly.layout import Layout
from dit_run.compute.random_streams import Streams
from dit_run.data.samples import BadSample, Samples, Visit
from dit_run.registry.plugin_files import PluginFiles
from dit_run.training.loader_processes import Attempting, begin_worker, loaded, worker_context

__all__ = ["Batch", "LatentSource", "Visits", "batches"]


class Batch(NamedTuple):
    """A micro-batch of n samples on the CPU, all randomness drawn."""

    images: Tensor
    """Kept latents [n, 1 or 2, c, h, w], mean and, where their encoder has a posterior, standard deviation; or pixels
    still to be encoded, uint8 [n, H, W, 3]."""
    draw: Tensor
    """Standard normal [n, c, h, w]: which latents of the posterior are shown."""
    noise: Tensor
    """Standard normal [n, c, h, w]."""
    uniform: Tensor
    """float [n] in [0, 1): decides the timestep."""
    null: tuple[bool, ...]
    """Which captions are dropped."""
    keys: tuple[str, ...]
    captions: tuple[str, ...]
    """As they stand in the dataset, dropped or not."""
    bad: tuple[BadSample, ...] = ()
    """Samples that could not be read and gave way to others."""


class LatentSource(Protocol):
    """Latents of samples, kept from an earlier encoding; picklable."""

    def find(self, visit: Visit) -> Any:
        """What :meth:`gather` knows those of a visit by. Raises InputError for a sample that cannot be read."""
        ...

    def gather(self, found: Sequence[Any]) -> Tensor:
        """Latents [n, 1 or 2, c, h, w]: means and, where there are such, standard deviations."""
        ...


@dataclass(frozen=True)
class Visits:
    """All that a position decides, as a function of the seed. Picklable: it works the same in any process."""

    samples: Samples
    seed: int
    latent_shape: tuple[int, int, int]
    """(c, h, w)."""
    caption_dropout: float
    latents: LatentSource | None = None
    """None: pixels are read, for encoding in the step."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """The micro-batch at these positions."""
        streams = Streams(self.seed)
        reading = self.samples.read(positions, self._fetch)
        null = streams.uniforms("caption_dropout", positions) < self.caption_dropout
        return Batch(
            images=self._gathered(reading.values),
            draw=torch.from_numpy(streams.normals("posterior", positions, self.latent_shape)),
            noise=torch.from_numpy(streams.normals("noise", positions, self.latent_shape)),
            uniform=torch.from_numpy(streams.uniforms("timestep", positions)),
            null=tuple(null.tolist()),
            keys=tuple(visit.key for visit in reading.visits),
            captions=tuple(visit.caption for visit in reading.visits),
            bad=reading.bad,
        )

    def _fetch(self, visit: Visit) -> Any:
        return self.samples.pixels(visit) if self.latents is None else self.latents.find(visit)

    def _gathered(self, fetched: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack(fetched)) if self.latents is None else self.latents.gather(fetched)


def batches(
    visits: Visits,
    layout: Layout,
    first_step: int,
    end_step: int,
    *,
    workers: int,
    prefetch: int,
    pin: bool,
    plugins: PluginFiles,
) -> Generator[Batch, None, None]:
    """This process's micro-batches of a range of steps, in order, whatever the number of loading processes.

    ``plugins`` are the plugin files of the run's config, which loading processes import as they were.
    """
    if workers == 0:
        for positions in layout.micro_batches(first_step, end_step):
            yield visits.__getitems__(positions)
        return
    loader: DataLoader[Any] = DataLoader(
        Attempting(_Travelling(plugins, visits)),  # type: ignore[arg-type]
        batch_sampler=layout.micro_batches(first_step, end_step),  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=prefetch,
        collate_fn=_whole,  # type: ignore[arg-type]
        pin_memory=pin,
        multiprocessing_context=worker_context(),
        worker_init_fn=begin_worker,
        generator=torch.Generator(),
    )
    yield from loaded(loader)


@dataclass(frozen=True)
class _Travelling:
    """Visits on their way to a loading process, behind the plugin files that their parts may come from."""

    plugins: PluginFiles
    visits: Visits

    def __len__(self) -> int:
        return len(self.visits)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        return self.visits.__getitems__(positions)


def _whole(batch: Batch) -> Batch:
    """Visits come as whole batches."""
    return batch
