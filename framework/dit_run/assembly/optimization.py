"""The optimizer and the learning rate of a run, built from a checked config."""

from __future__ import annotations

import torch
from torch import nn

from dit_run.assembly.rate_groups import RateGroups
from dit_run.assembly.trained_parameters import by_factor
from dit_run.compute.sharding import take_parts
from dit_run.model.denoiser import parameter_roles, trainable_parameters
from dit_run.protocols import LearningRateFactor
from dit_run.registry.factories import make
from dit_run.settings import Config

__all__ = ["build_learning_rate_factor", "build_optimizer"]


def build_optimizer(config: Config, denoiser: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer over all trainable parameters, at the peak learning rates.

    Raises InputError for a factor on the learning rate of no parameter.
    """
    groups = by_factor(trainable_parameters(denoiser), config.training.learning_rate_factors)
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
