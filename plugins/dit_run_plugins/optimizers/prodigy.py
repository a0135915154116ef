"""prodigy: Adam that estimates its learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from dit_run.options import NonNegativeFloat, PositiveFloat, bounds
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, NamedParameters, ParameterRole, RuleContext

if TYPE_CHECKING:
    import torch

__all__ = ["Prodigy", "build", "rate_is_a_factor"]

_LEAST, _MOST = 0.1, 10.0
"""Learning rates that are likely meant as factors on the estimate."""


@dataclass(frozen=True, kw_only=True)
class Prodigy:
    """Prodigy (Mishchenko and Defazio 2023): AdamW that estimates its learning rate from the gradients.

    `training.learning_rate` is a factor on the estimate, 1.0 unless it is written; a scheduler's warm-up and decay
    multiply it. Needs `pip install 'dit-run[prodigy]'`.
    """

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate. Norms, biases and embeddings do
    not decay."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square before the division by it, times the estimate."""
    d0: PositiveFloat = 1e-6
    """First estimate of the learning rate; too large a one cannot be taken back."""
    d_coef: PositiveFloat = 1.0
    """Factor on the estimate as it grows: 0.5 for a smaller, 2.0 for a larger learning rate."""
    bias_correction: bool = True
    """Correct the running means for their start at zero, as Adam does."""
    safeguard_warmup: bool = True
    """Keep the estimate from growing too large during a warm-up."""


def build(
    options: Prodigy,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
) -> torch.optim.Optimizer:
    """Return the optimizer of the package prodigyopt. Raises InputError without it."""
    from dit_run_plugins.extras import import_extra
    from dit_run_plugins.optimizers.decay_groups import decay_groups

    package = import_extra("prodigyopt", "prodigy", section="optimizer")
    # The decay stands in the groups alone, because the class prints a line for a decay among its arguments.
    optimizer = package.Prodigy(
        decay_groups(named_parameters, roles, options.weight_decay),
        lr=learning_rate,
        betas=options.betas,
        eps=options.eps,
        d0=options.d0,
        d_coef=options.d_coef,
        use_bias_correction=options.bias_correction,
        safeguard_warmup=options.safeguard_warmup,
    )
    return cast("torch.optim.Optimizer", optimizer)


def rate_is_a_factor(context: RuleContext) -> Iterator[Adjustment | Problem]:
    """Use the factor 1.0 unless one is written, and report a written one that looks like a learning rate of AdamW."""
    path, rate = ("training", "learning_rate"), context.config.training.learning_rate
    if path not in context.written:
        yield Adjustment(path, 1.0, "prodigy estimates the learning rate, and its authors advise the factor 1.0 on it")
    elif not _LEAST <= rate <= _MOST:
        yield Problem(
            "prodigy-rate",
            f"training.learning_rate is {rate:g}, but prodigy estimates the learning rate and multiplies it by this "
            "factor; its authors advise 1.0",
            path,
            related=(context.path,),
            help=("set training.learning_rate: 1.0, and change optimizer.d_coef for larger or smaller steps",),
            severity="notice",
        )
