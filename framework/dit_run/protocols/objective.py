"""Objectives: the training loss, and the micro-batch and predictions that it is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols.scheduler import Scheduler

__all__ = ["ModelOutput", "NoisyBatch", "Objective", "ObjectiveLoss", "PredictFor"]


@dataclass(frozen=True)
class NoisyBatch:
    """A micro-batch of n samples, noised to their timesteps."""

    scheduler: Scheduler
    """The noise process of the latents' shape."""
    latents: Tensor
    """float [n, c, h, w], clean."""
    noise: Tensor
    """float [n, c, h, w], standard normal."""
    timesteps: Tensor
    """float [n], in [0, 1000]."""
    noisy: Tensor
    """float [n, c, h, w]: the latents at the timesteps."""
    target: Tensor
    """float [n, c, h, w]: the output that the scheduler asks for."""
    features: Tensor | None = None
    """float [n, d, rows, columns]: the output of the objective's ``features`` for the images; None without any."""

    def denoising_loss(self, output: Tensor) -> Tensor:
        """Return weight(t) · mean((output - target)²) of each sample, float [n]."""
        error = (output.float() - self.target.float()).square().flatten(1).mean(1)
        weighted: Tensor = error * self.scheduler.weight(self.timesteps)
        return weighted


class ModelOutput(NamedTuple):
    """A prediction of the model that trains."""

    output: Tensor
    """float [n, c, h, w], float32."""
    taps: Mapping[str, Tensor] = MappingProxyType({})
    """States inside the model by name, float [n, d, rows, columns], for the taps that the objectives name."""


class PredictFor(Protocol):
    """``predict()`` and ``predict(noisy, timesteps)``: calls of the model that trains, with the captions of the batch.

    Without arguments it is the prediction for ``batch.noisy`` at ``batch.timesteps``: one call of the model, which all
    objectives of a run share. With arguments the model is called again. ``second_timesteps``, float [n] in [0, 1000],
    are for an objective with the attribute ``second_time``.
    """

    def __call__(
        self, noisy: Tensor | None = None, timesteps: Tensor | None = None, *, second_timesteps: Tensor | None = None
    ) -> ModelOutput: ...


@dataclass(frozen=True)
class ObjectiveLoss:
    """The result of an objective."""

    samples: Tensor
    """float32 [n]: the loss of each sample. Training lowers the mean. A loss of the whole micro-batch is expanded to
    the samples."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Further values for the log by name, each float [n]."""


class Objective(Protocol):
    """``build(options, *, device, taps, token_size) -> Objective``: a training loss; a run adds one or several.

    ``device`` is the torch.device of the run. ``taps`` has the widths of the states inside the model that it offers, by
    name; empty for a model without. ``token_size`` is the side of a patch of the model in image pixels.

    The weight of an objective, and the share of the run in which it acts, are keys of its section that every objective
    has. The core applies them, averages over micro-batches and processes, scales for fp16 and takes gradients.
    Validation measures the denoising loss alone, whatever the objectives are, so that runs can be compared.

    An objective may have an attribute ``parts``, the names of the further values that it returns for the log. Each is
    logged as ``objective/TYPE/NAME``.

    An objective that reads states inside the model has an attribute ``taps``, a tuple of their names, and finds them in
    the results of ``predict``.

    An objective that trains the model between two times, such as a mean flow, has an attribute ``second_time``, True,
    and gives the second one as ``predict(noisy, timesteps, second_timesteps=...)``. Models that take none are refused.

    An objective that compares with the output of a frozen network has that in an attribute ``features``, an
    :class:`dit_run.protocols.ImageEncoder` in eval mode, on the device, whose ``factor`` divides the sides of training
    images. The outputs for the training images, mirrored ones too, are kept in the cache; ``batch.features`` has those
    of the micro-batch. Its network may load at the first call, and have a method ``release()`` that frees its memory.

    An objective that trains weights of its own has them in an attribute ``trained``, a torch module. The core moves it
    to the device, and optimises, averages and saves it with the model; models for sampling do not have it. The core
    seeds torch's generator before it calls the factory, and before each micro-batch.
    """

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        """Return the loss of the samples of a micro-batch.

        It is called in the precision of ``training.mixed_precision``, and should compute the loss itself in float32.
        A loss may compare the samples of its micro-batch with each other: the same samples share a micro-batch on any
        number of processes.
        """
        ...
