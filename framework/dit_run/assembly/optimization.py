"""The optimizer and the learning rate of a run, built from a checked config."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dit_run.assembly.rate_groups import RateGroups
from dit_run.assembly.trained_parameters import by_factor
from dit_run.compute.sharding import take_parts
from dit_run.compute.whole_updates import WholeUpdates, without_memory
from dit_run.model.denoiser import parameter_roles, trainable_parameters
from dit_run.protocols import LearningRateFactor
from dit_run.registry.factories import make
from dit_run.settings import Config

__all__ = ["build_learning_rate_factor", "build_optimizer"]


def build_optimizer(
    config: Config, denoiser: nn.Module, device: torch.device, *, whole: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer over all trainable parameters, at the peak learning rates.

    With ``whole`` it is built for whole parameters, and updates sharded ones as such: see :class:`WholeUpdates`.
    Raises InputError for a factor on the learning rate of no parameter.
    """
    named = trainable_parameters(denoiser)
    given = [(name, without_memory(each, device)) for name, each in named] if whole else named
    sharded: dict[Tensor, Tensor] = {other: each for (_, other), (_, each) in zip(given, named, strict=True)}
    groups = by_factor(given, config.training.learning_rate_factors)
    optimizers: dict[float, torch.optim.Optimizer] = {
        factor: make(
            config.optimizer.component,
            config.optimizer.options,
            named_parameters=parameters,
            roles=parameter_roles(denoiser),
            learning_rate=factor * config.training.learning_rate,
            device=device,
        )
        for factor, parameters in groups.items()
    }
    for each in optimizers.values():
        each.register_load_state_dict_pre_hook(take_parts)
        if whole:
            WholeUpdates(each, sharded)
    optimizer = RateGroups(optimizers) if len(optimizers) > 1 else next(iter(optimizers.values()))
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return optimizer


def build_learning_rate_factor(config: Config, total_steps: int) -> LearningRateFactor:
    """Return the factor on the peak learning rate as a function of the step, in a run of this length."""
    factor: LearningRateFactor = make(
        config.lr_scheduler.component,
        config.lr_scheduler.options,
        total_steps=total_steps,
        learning_rate=config.training.learning_rate,
    )
    return factor
