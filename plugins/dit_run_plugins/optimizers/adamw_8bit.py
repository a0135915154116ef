"""adamw_8bit: AdamW whose running means take one byte for each weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from dit_run.options import NonNegativeFloat, PositiveFloat, PositiveInt, bounds
from dit_run.protocols import NamedParameters, ParameterRole

if TYPE_CHECKING:
    import torch

__all__ = ["AdamW8bit", "build"]


@dataclass(frozen=True, kw_only=True)
class AdamW8bit:
    """AdamW with its state in blocks of 8-bit numbers (Dettmers et al. 2022): a quarter of the memory of `adamw`'s.

    Needs `pip install 'dit-run[adamw_8bit]'`.
    """

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate. Norms, biases and embeddings do
    not decay."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square before the division by it."""
    min_8bit_size: PositiveInt = 4096
    """Parameters with fewer numbers than this keep a state of 32 bits."""


def build(
    options: AdamW8bit,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
) -> torch.optim.Optimizer:
    """Return the optimizer of the package bitsandbytes. Raises InputError without it."""
    from dit_run_plugins.extras import import_extra
    from dit_run_plugins.optimizers.decay_groups import decay_groups

    package = import_extra("bitsandbytes", "adamw_8bit", section="optimizer")
    optimizer = package.optim.AdamW8bit(
        decay_groups(named_parameters, roles, options.weight_decay),
        lr=learning_rate,
        betas=options.betas,
        eps=options.eps,
        min_8bit_size=options.min_8bit_size,
    )
    return cast("torch.optim.Optimizer", optimizer)
