"""The training step and the average of a config, as a run, a probe and a check-up all build them."""

from __future__ import annotations

import torch
from torch import nn

from dit_run.assembly.parts import build_optimizer
from dit_run.compute.precision import Precision
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import LearningRateFactor, Scheduler
from dit_run.settings import Config
from dit_run.training.ema import Ema
from dit_run.training.step import Gradients, LocalGradients, TrainingStep
from dit_run.training.step_timer import Clock

__all__ = ["build_ema", "build_step"]


def build_step(
    config: Config,
    denoiser: Denoiser,
    scheduler: Scheduler,
    device: torch.device,
    *,
    learning_rate_factor: LearningRateFactor,
    forward: nn.Module | None = None,
    gradients: Gradients | None = None,
    clock: Clock | None = None,
) -> TrainingStep:
    """The config's step over all that trains; ``forward`` is the denoiser's wrapper where it has one, and without
    ``gradients`` each step is one micro-batch of this process."""
    return TrainingStep(
        forward=forward or denoiser,
        scheduler=scheduler,
        optimizer=build_optimizer(config, denoiser, device),
        learning_rate_factor=learning_rate_factor,
        precision=Precision.of(config.training.mixed_precision, device),
        max_grad_norm=config.training.max_grad_norm,
        seed=config.training.seed,
        gradients=gradients or LocalGradients(1),
        clock=clock,
    )


def build_ema(config: Config, denoiser: Denoiser) -> Ema[Denoiser] | None:
    """The average of the denoiser's weights, where the config keeps one."""
    training = config.training
    return Ema(denoiser, decay=training.ema_decay, power=training.ema_warmup) if training.use_ema else None
