"""schedule_free_adamw: AdamW whose evaluated weights are an average, in place of a learning rate that decays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from dit_run.options import NonNegativeFloat, PositiveFloat, bounds
from dit_run.problems import KeyPath, Problem
from dit_run.protocols import Adjustment, NamedParameters, ParameterRole, RuleContext

if TYPE_CHECKING:
    import torch

__all__ = ["ScheduleFreeAdamW", "build", "needs_no_average", "needs_no_decay"]

_DECAYING = ("cosine", "linear", "warmup_stable_decay")


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamW:
    """Schedule-free AdamW (Defazio et al. 2024), for a constant learning rate: it needs no decay and no known end.

    Validation, samples and `model.safetensors` have the average of the weights that it keeps. Its best learning rate is
    one to ten times that of AdamW with a decay. Needs `pip install 'dit-run[schedule_free]'`.
    """

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate. Norms, biases and embeddings do
    not decay."""
    betas: Annotated[tuple[float, float], bounds(gt=0, lt=1)] = (0.9, 0.999)
    """Share of the average in the weights at which gradients are taken, and decay of the running mean of their
    squares."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the mean square before the division by it."""


def build(
    options: ScheduleFreeAdamW,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
) -> torch.optim.Optimizer:
    """Return the optimizer of the package schedulefree. Raises InputError without it."""
    from dit_run_plugins.extras import import_extra
    from dit_run_plugins.optimizers.decay_groups import decay_groups

    package = import_extra("schedulefree", "schedule_free", section="optimizer", type_="schedule_free_adamw")
    groups = decay_groups(named_parameters, roles, options.weight_decay)
    optimizer = package.AdamWScheduleFree(groups, lr=learning_rate, betas=options.betas, eps=options.eps)
    return cast("torch.optim.Optimizer", optimizer)


def needs_no_decay(context: RuleContext) -> Iterator[Problem]:
    """Refuse a learning rate that decays: the average takes its place."""
    kind = context.config.lr_scheduler.type
    if kind in _DECAYING:
        yield Problem(
            "schedule-free-decay",
            f"optimizer.type is schedule_free_adamw, which averages weights in place of a decay of the learning rate, "
            f"but lr_scheduler.type is {kind}, which decays it",
            (*context.path, "type"),
            related=(("lr_scheduler", "type"),),
            help=("set lr_scheduler: {type: constant, warmup: 0.05}, whose warm-up stays",),
        )


def needs_no_average(context: RuleContext) -> Iterator[Adjustment | Problem]:
    """Keep no average unless it is written, and report each that is: the evaluated weights are an average already."""
    path, reason = ("training", "use_ema"), "the weights that schedule_free_adamw evaluates are an average already"
    use_ema = context.config.training.use_ema
    if use_ema and path not in context.written:
        yield Adjustment(path, False, reason)
    elif use_ema:
        yield _averaged_again(context, path, f"training.use_ema is true, but {reason}", "set training.use_ema: false")
    if context.config.averages:
        yield _averaged_again(context, ("averages",), f"averages lists some, but {reason}", "remove averages")


def _averaged_again(context: RuleContext, path: KeyPath, message: str, help_: str) -> Problem:
    return Problem(
        "average-of-average",
        f"{message}; averaging them again takes time in each step",
        path,
        related=(context.path,),
        help=(help_,),
        severity="notice",
    )
