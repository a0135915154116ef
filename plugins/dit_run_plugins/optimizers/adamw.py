"""adamw: Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.options import NonNegativeFloat, PositiveFloat, bounds
from dit_run.protocols import NamedParameters, ParameterRole

if TYPE_CHECKING:
    import torch

__all__ = ["AdamW", "build"]


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), in one fused kernel if the device has it."""

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate. Norms, biases and embeddings do
    not decay."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square before the division by it."""


def build(
    options: AdamW,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
    device: torch.device,
) -> torch.optim.Optimizer:
    """Return the optimizer over all parameters, in one group with weight decay and one without."""
    import torch

    from dit_run.compute.devices import fuses_optimizers
    from dit_run_plugins.optimizers.decay_groups import decay_groups

    return torch.optim.AdamW(
        decay_groups(named_parameters, roles, options.weight_decay),
        lr=learning_rate,
        betas=options.betas,
        eps=options.eps,
        fused=fuses_optimizers(device),
    )
