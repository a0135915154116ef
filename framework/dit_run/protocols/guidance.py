"""Guidance: the combination of two predictions in each sampling step, so that images follow captions more closely."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from dit_run.protocols.scheduler import Scheduler

__all__ = ["Guidance", "GuidedStep", "OtherWeights", "Routed", "WeakerPrediction"]


@dataclass(frozen=True)
class OtherWeights:
    """Weights of the same run, other than those that make images."""

    checkpoint: int | None = None
    """Step of a checkpoint; None is the one whose images are sampled."""
    averaged: bool = True
    """True for the averaged weights of that checkpoint, False for those that train."""


@dataclass(frozen=True)
class Routed:
    """Token routing of the model, for models that offer it (:attr:`dit_run.protocols.Model` says how)."""

    share: float
    """Share of the patches of each image that skips blocks, above 0 and below 1."""


WeakerPrediction: TypeAlias = Literal["empty"] | OtherWeights | Routed
"""The prediction that guidance moves away from: ``empty``, that of the model for the empty caption or the negative
prompt, which goes through the model in one call with that for the caption; that of other weights for the caption; or
that of the same weights for the caption with routed tokens."""


@dataclass(frozen=True)
class GuidedStep:
    """A call of the model in sampling: the facts that a guidance may use."""

    noisy: Tensor
    """Noisy latents, float32 [n, c, h, w]."""
    timesteps: Tensor
    """float [n] in [0, 1000], all equal, on the device of the latents."""
    scale: Tensor
    """Guidance scale of each image, float32 [n, 1, 1, 1]."""
    scheduler: Scheduler
    """Noise process, which converts between outputs of the model and clean latents."""
    index: int = 0
    """Number of calls of the model before this one for the same images."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that the guidance keeps for its next call for the same images."""


class Guidance(Protocol):
    """``build(options) -> Guidance``: combines two predictions of the model in each sampling step.

    The core makes both predictions, leaves guidance out at noise levels outside of ``sampling.guidance_interval``,
    keeps the prediction for the caption where the scale is 1, and applies ``sampling.guidance_rescale`` to the result.

    The options class may have an attribute ``weaker``, a :data:`WeakerPrediction`; without it the weaker prediction is
    ``empty``. Classifier-free guidance as it is published may have ``in_diffusers = True`` there, so that an export can
    use a pipeline of diffusers.
    """

    def __call__(self, caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
        """Return the guided output of the model, float32 [n, c, h, w], from the two outputs of that shape.

        ``caption`` is the output for the captions. At scale 1 the result is this output, and larger scales move further
        from the weaker one. Each image depends on its own row alone, and nothing is kept but in ``step.memory``.
        """
        ...
