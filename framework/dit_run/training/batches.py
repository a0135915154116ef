"""Batches: the samples and random draws of each position, read in this process or in workers, in the run's order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dit_run.assembly.layout import Layout
from dit_run.compute.random_streams import Streams
from dit_run.data.samples import BadSample, FetchedVisits, Samples
from dit_run.problems import DitRunError
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.plugin_files import PluginFiles
from dit_run.training.workers import iterate_loader, start_worker, worker_context

if TYPE_CHECKING:
    from dit_run.assembly.parts import Encoders
    from dit_run.cache.lookup import LatentCache
    from dit_run.settings import Config

__all__ = ["Batch", "Visits", "batches"]


class Batch(NamedTuple):
    """A micro-batch of n samples on the CPU, with all its random draws."""

    images: Tensor
    """Cached latents [n, 1 or 2, c, h, w], mean and, where their encoder has a posterior, standard deviation; or pixels
    that are encoded in the step, uint8 [n, H, W, 3]."""
    draw: Tensor
    """Standard normal [n, c, h, w]: selects the latents from their posterior."""
    noise: Tensor
    """Standard normal [n, c, h, w]."""
    uniform: Tensor
    """float [n] in [0, 1): decides the timestep."""
    null: tuple[bool, ...]
    """True for each caption that is dropped."""
    keys: tuple[str, ...]
    captions: tuple[str, ...]
    """As in the dataset, dropped or not."""
    bad: tuple[BadSample, ...] = ()
    """Samples that could not be read and were replaced."""


@dataclass(frozen=True)
class Visits:
    """All that a position decides, as a function of the seed. Picklable: it works the same in any process."""

    samples: Samples
    seed: int
    latent_shape: tuple[int, int, int]
    """(c, h, w)."""
    caption_dropout: float
    latents: LatentCache | None = None
    """None: pixels are read and encoded in the step."""

    @classmethod
    def of(
        cls, config: Config, samples: Samples, encoders: Encoders, *, caption_dropout: float | None = None
    ) -> Visits:
        """Return the visits of a config to these samples; ``caption_dropout`` is by default the config's."""
        training, size = config.training, config.data.common.image_size
        dropout = training.caption_dropout if caption_dropout is None else caption_dropout
        return cls(samples, training.seed, encoders.latent_shape(size, size), dropout, encoders.cached.latents)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """Return the micro-batch at these positions."""
        streams = Streams(self.seed)
        reading, images = self._read(positions)
        null = streams.uniforms("caption_dropout", positions) < self.caption_dropout
        return Batch(
            images=images,
            draw=torch.from_numpy(streams.normals("posterior", positions, self.latent_shape)),
            noise=torch.from_numpy(streams.normals("noise", positions, self.latent_shape)),
            uniform=torch.from_numpy(streams.uniforms("timestep", positions)),
            null=tuple(null.tolist()),
            keys=tuple(visit.key for visit in reading.visits),
            captions=tuple(visit.caption for visit in reading.visits),
            bad=reading.bad,
        )

    def _read(self, positions: Sequence[int]) -> tuple[FetchedVisits[Any], Tensor]:
        if self.latents is None:
            read = self.samples.read(positions, self.samples.pixels)
            return read, torch.from_numpy(np.stack(read.values))
        found = self.samples.read(positions, self.latents.find)
        return found, self.latents.gather(found.values)


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
    """Yield this process's micro-batches of a range of steps, in order, whatever the number of workers.

    ``plugins`` are the plugin files of the run's config, which workers import as they were.
    """
    if workers == 0:
        for positions in layout.micro_batches(first_step, end_step):
            yield visits.__getitems__(positions)
        return
    loader: DataLoader[Any] = DataLoader(
        _WorkerVisits(plugins, visits),  # type: ignore[arg-type]
        batch_sampler=layout.micro_batches(first_step, end_step),  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=prefetch,
        collate_fn=_whole_batch,  # type: ignore[arg-type]
        pin_memory=pin,
        multiprocessing_context=worker_context(),
        worker_init_fn=start_worker,
        generator=torch.Generator(),
    )
    yield from iterate_loader(loader)


@dataclass(frozen=True)
class _WorkerVisits:
    """Visits as a worker gets them."""

    plugins: PluginFiles
    """First, so that unpickling imports the plugin files that the visits need."""
    visits: Visits

    def __getitems__(self, positions: Sequence[int]) -> Batch | DitRunError:
        """Return the micro-batch, or its DitRunError: raised in a worker, it would arrive with a traceback."""
        try:
            with translate_plugin_fault():
                return self.visits.__getitems__(positions)
        except DitRunError as error:
            return error


def _whole_batch(batch: Batch) -> Batch:
    return batch
