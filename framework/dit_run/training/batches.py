"""Batches: the samples and random draws of each position, read in this process or in workers, in the run's order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dit_run.compute.random_streams import Streams
from dit_run.compute.worker_pool import WorkerPool
from dit_run.data.bad_samples import BadSample
from dit_run.data.samples import Samples
from dit_run.data.visits import FetchedVisits, Visit
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.plugin_files import PluginFiles
from dit_run.training.read_ahead import read_ahead

if TYPE_CHECKING:
    from dit_run.assembly.parts import Encoders
    from dit_run.cache.lookup import LatentLookup
    from dit_run.model.codec import LatentShape
    from dit_run.settings import Config

__all__ = ["Batch", "FeatureVisits", "Loading", "Visits", "batches"]

_ADVICE = (
    "The same command continues from the last checkpoint; with training.num_workers=0 batches are loaded in the "
    "training process"
)


class Batch(NamedTuple):
    """A micro-batch of n samples on the CPU, with all its random draws."""

    images: Tensor
    """Cached latents [n, 1 or 2, c, h, w], mean and, where their encoder has a posterior, standard deviation; or pixels
    that are encoded in the step, uint8 [n, H, W, 3]. Height and width belong to the batch."""
    draw: Tensor | None
    """Standard normal [n, c, h, w]: selects the latents from their posterior. None for an encoder without one."""
    noise: Tensor
    """Standard normal [n, c, h, w]."""
    uniform: Tensor
    """float [n] in [0, 1): decides the timestep."""
    null: tuple[bool, ...]
    """True for each caption that is dropped for all text encoders."""
    keys: tuple[str, ...]
    captions: tuple[str, ...]
    """As in the dataset, dropped or not."""
    bad: tuple[BadSample, ...] = ()
    """Samples that could not be read and were replaced."""
    parts: Tensor | None = None
    """bool [p, n]: the samples of each part of a mixture; None without a mixture."""
    scalars: Tensor | None = None
    """float [n, k]: the numbers that the model takes; None if it takes none."""
    dropped: tuple[tuple[bool, ...], ...] = ()
    """For each of several text encoders, True for each caption that it alone drops."""
    features: Mapping[str, Tensor | None] = MappingProxyType({})
    """Outputs of the frozen networks of the objectives that act, by the objectives' names: cached ones, float
    [n, 1, d, rows, columns], or None where they are computed in the step from the pixels."""


@dataclass(frozen=True)
class FeatureVisits:
    """The visits at which an objective acts, which compares with the output of a frozen network."""

    cached: LatentLookup | None
    """Cached outputs; None: they are computed in the step."""
    first: float
    """First position at which it acts."""
    end: float
    """Position from which on it no longer acts."""

    def includes(self, position: int) -> bool:
        """Return True if the objective acts at this position."""
        return self.first <= position < self.end


@dataclass(frozen=True)
class Visits:
    """All that a position decides, as a function of the seed. Picklable: it works the same in any process."""

    samples: Samples
    seed: int
    latent_shape: LatentShape
    caption_dropout: float
    latents: LatentLookup | None = None
    """None: pixels are read and encoded in the step."""
    own_dropout: tuple[float, ...] = ()
    """Share of captions that each text encoder alone drops."""
    posterior: bool = True
    """False if the latents have no standard deviation, so that none are drawn."""
    features: Mapping[str, FeatureVisits] = field(default_factory=dict)
    """Those that need outputs of the frozen networks of objectives, by the objectives' names."""

    @classmethod
    def of(
        cls, config: Config, samples: Samples, encoders: Encoders, *, caption_dropout: float | None = None
    ) -> Visits:
        """Return the visits of a config to these samples; ``caption_dropout`` replaces all that the config drops."""
        training, choices = config.training, config.chosen("text_encoder")
        own = tuple(choice.common.caption_dropout if caption_dropout is None else 0.0 for choice in choices)
        dropout = training.caption_dropout if caption_dropout is None else caption_dropout
        posterior = getattr(encoders.vae, "posterior", True)
        return cls(samples, training.seed, encoders.latent_shape, dropout, encoders.cached.latents, own, posterior)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """Return the micro-batch at these positions of a step, whose samples share a size."""
        streams = Streams(self.seed)
        reading, images, features = self._read(positions)
        shape = self.latent_shape(*reading.visits[0].size)
        null = streams.uniforms("caption_dropout", positions) < self.caption_dropout
        dropped = [self._own_dropped(streams, place, positions) for place in range(len(self.own_dropout))]
        if len(dropped) == 1:
            null, dropped = null | dropped[0], []
        return Batch(
            images=images,
            draw=torch.from_numpy(streams.normals("posterior", positions, shape)) if self._draws(images) else None,
            noise=torch.from_numpy(streams.normals("noise", positions, shape)),
            uniform=torch.from_numpy(streams.uniforms("timestep", positions)),
            null=tuple(null.tolist()),
            keys=tuple(visit.key for visit in reading.visits),
            captions=tuple(visit.caption for visit in reading.visits),
            dropped=tuple(tuple(each.tolist()) for each in dropped),
            bad=reading.bad,
            features=features,
            parts=self._parts(reading.visits),
            scalars=torch.tensor([visit.scalars for visit in reading.visits]) if self.samples.scalars.names else None,
        )

    def _draws(self, images: Tensor) -> bool:
        """Return True if latents are drawn: from those of the cache, or from pixels that are encoded later."""
        return self.posterior if self.latents is None else images.shape[1] == 2

    def _parts(self, visits: Sequence[Visit]) -> Tensor | None:
        if not self.samples.parts.mixed:
            return None
        numbers = torch.tensor([visit.part for visit in visits])
        return torch.arange(len(self.samples.parts.parts))[:, None] == numbers

    def _own_dropped(self, streams: Streams, place: int, positions: Sequence[int]) -> NDArray[np.bool_]:
        """Return True for each caption that the text encoder at this place of the list drops by itself."""
        share = self.own_dropout[place]
        if share == 0:
            return np.zeros(len(positions), dtype=np.bool_)
        return streams.uniforms(f"text_encoder_dropout_{place}", positions) < share

    def _read(self, positions: Sequence[int]) -> tuple[FetchedVisits[Any], Tensor, dict[str, Tensor | None]]:
        wanted = {name: each.cached for name, each in self.features.items() if each.includes(positions[0])}
        cached = {name: lookup for name, lookup in wanted.items() if lookup is not None}
        read = self.samples.read(positions, partial(self._fetch, cached.values()))
        images, *found = zip(*read.values, strict=True)
        gathered = {name: lookup.gather(each) for (name, lookup), each in zip(cached.items(), found, strict=True)}
        features = {name: gathered.get(name) for name in wanted}
        if self.latents is None:
            return read, torch.from_numpy(np.stack(images)), features
        return read, self.latents.gather(images), features

    def _fetch(self, features: Iterable[LatentLookup], visit: Visit) -> tuple[Any, ...]:
        """Return the pixels of a visit or the place of its latents, and the places of its features."""
        image = self.samples.pixels(visit) if self.latents is None else self.latents.find(visit)
        return image, *(lookup.find(visit) for lookup in features)


@dataclass(frozen=True)
class Loading:
    """Settings of the loading of batches, which change their time of arrival alone."""

    workers: int = 0
    """Processes that load; 0: this one."""
    prefetch: int = 1
    """Batches that each worker loads ahead."""
    pin: bool = False
    """True puts batches of workers into pinned memory."""
    plugins: PluginFiles = field(default_factory=PluginFiles)
    """Plugin files of the run's config, which workers import as they were."""


def batches(
    visits: Visits, micro_batches: Iterable[Sequence[int]], loading: Loading | None = None
) -> Generator[Batch, None, None]:
    """Yield the micro-batches at these positions, in order, whatever the number of workers."""
    loading = loading or Loading()
    if loading.workers == 0:
        for positions in micro_batches:
            yield visits.__getitems__(positions)
        return
    pool: WorkerPool[Sequence[int], Batch] = WorkerPool(
        _WorkerVisits(loading.plugins, visits),
        loading.workers,
        ahead=loading.prefetch,
        role="worker",
        advice=_ADVICE,
        pin=loading.pin,
    )
    with pool:
        loaded = pool.map(micro_batches)
        yield from read_ahead(loaded, pool.kill) if loading.pin else loaded


@dataclass(frozen=True)
class _WorkerVisits:
    """Visits as a worker gets them."""

    plugins: PluginFiles
    """First, so that unpickling imports the plugin files that the visits need."""
    visits: Visits

    def __call__(self, positions: Sequence[int]) -> Batch:
        with translate_plugin_fault():
            return self.visits.__getitems__(positions)
