"""Batches: what stands at each position of a run, read and drawn in any process, and laid before the step in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dit_run.conditions import Conditions, TextIds
from dit_run.data.order import Order
from dit_run.data.visits import View
from dit_run.protocols import TextStates
from dit_run.streams import Streams
from dit_run.training.step import Examples

__all__ = ["Batch", "LatentSource", "Layout", "Visits", "load"]


class Batch(NamedTuple):
    """A micro-batch of n samples on the CPU, all randomness drawn."""

    images: Tensor
    """float [n, c, h, w]: means of latents, or uint8 [n, H, W, 3]: pixels still to be encoded."""
    spread: Tensor | None
    """float [n, c, h, w]: standard deviations of the latents, where their encoder has a posterior."""
    draw: Tensor
    """float [n, c, h, w], standard normal: which latents of the posterior are shown."""
    noise: Tensor
    """float [n, c, h, w], standard normal."""
    uniform: Tensor
    """float [n] in [0, 1)."""
    text: TextStates | TextIds
    keys: tuple[str, ...]


class LatentSource(Protocol):
    """Reads latents of a sample from the cache; picklable."""

    def __call__(self, index: int, flip: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
        """Mean and standard deviation, float32 [c, h, w], of the sample with that index in the dataset."""
        ...


@dataclass(frozen=True)
class Layout:
    """How positions are shared out. Micro-batch v of a step holds batch_size consecutive positions."""

    batch_size: int
    accumulation: int
    processes: int = 1
    rank: int = 0

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.accumulation * self.processes

    @property
    def first_micro_batch(self) -> int:
        """The global index of this process's first micro-batch of a step."""
        return self.rank * self.accumulation

    def positions(self, first_step: int, end_step: int) -> Iterator[list[int]]:
        """This process's micro-batches, in order, of the steps from ``first_step`` up to ``end_step``."""
        for step in range(first_step, end_step):
            for micro_batch in range(self.first_micro_batch, self.first_micro_batch + self.accumulation):
                start = step * self.global_batch + micro_batch * self.batch_size
                yield list(range(start, start + self.batch_size))


@dataclass(frozen=True)
class Visits:
    """All that a position decides. Picklable: it works the same in the training process and in any loading one."""

    view: View
    order: Order
    seed: int
    latent_shape: tuple[int, int, int]
    caption_dropout: float
    flip: bool
    conditions: Conditions
    latents: LatentSource | None = None
    prepare: Callable[[], None] | None = None
    """Run first in a loading process."""

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """The micro-batch at these positions."""
        streams = Streams(self.seed)
        indices, captions, keys, images = self._read(positions, streams)
        null = streams.uniforms("caption_dropout", positions) < self.caption_dropout
        if self.latents is None:
            shown, spread = torch.from_numpy(np.stack(images)), None
        else:
            shown, spread = _stack(images)
        del indices
        return Batch(
            images=shown,
            spread=spread,
            draw=torch.from_numpy(streams.normals("latents", positions, self.latent_shape)),
            noise=torch.from_numpy(streams.normals("noise", positions, self.latent_shape)),
            uniform=torch.from_numpy(streams.uniforms("timestep", positions)),
            text=self.conditions(captions, null.tolist()),
            keys=tuple(keys),
        )
