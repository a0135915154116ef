"""ddpm: options of diffusion over discrete timesteps, and the rules on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import PositiveFloat, acts_unless, bounds
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["STRIDED", "Ddpm", "combinations_fit", "steps_fit"]

STRIDED = ("ddim", "ddpm")
"""Samplers that visit whole timesteps, so that they take at most num_train_timesteps steps."""


@dataclass(frozen=True, kw_only=True)
class Ddpm:
    """Denoising diffusion (Ho et al. 2020): noise is added over discrete timesteps, and predicted."""

    samplers = ("ddim", "ddpm", "dpm-solver++", "heun")

    num_train_timesteps: Annotated[int, bounds(ge=2)] = 1000
    """Number of noise levels. The model always sees timesteps in [0, 1000]."""
    beta_start: Annotated[float, bounds(gt=0, lt=1), acts_unless("beta_schedule", "squaredcos_cap_v2")] = 0.00085
    """Noise added by the first timestep."""
    beta_end: Annotated[float, bounds(gt=0, lt=1), acts_unless("beta_schedule", "squaredcos_cap_v2")] = 0.012
    """Noise added by the last timestep."""
    beta_schedule: Literal["scaled_linear", "linear", "squaredcos_cap_v2"] = "scaled_linear"
    """Growth of the noise: linear in its square root, linear, or a squared cosine with its own start and end."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """Output of the model: the noise, the velocity alpha * noise - sigma * latents, or the clean latents."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that its last timestep is pure noise (Lin et al. 2023); not for epsilon."""
    min_snr_gamma: PositiveFloat | None = None
    """Weight the loss by min(SNR, gamma), converted to the prediction type (Hang et al. 2023; 5 is usual); null weights
    all timesteps equally."""


def combinations_fit(context: RuleContext) -> Iterator[Problem]:
    """Refuse or report options of the scheduler that do not go together."""
    options: Ddpm = context.options
    if options.zero_terminal_snr and options.prediction_type == "epsilon":
        yield Problem(
            code="zero-terminal-snr-epsilon",
            message="scheduler.zero_terminal_snr does not fit prediction_type epsilon: at the last timestep the "
            "noisy latents are the noise itself, so predicting it says nothing about the image",
            path=(*context.path, "zero_terminal_snr"),
            related=((*context.path, "prediction_type"),),
            help=("set prediction_type: v_prediction (or sample), or zero_terminal_snr: false",),
        )
    if options.beta_schedule != "squaredcos_cap_v2" and options.beta_start >= options.beta_end:
        yield Problem(
            code="betas-do-not-grow",
            message=f"scheduler.beta_start {options.beta_start:g} should be below beta_end {options.beta_end:g}",
            path=(*context.path, "beta_start"),
            related=((*context.path, "beta_end"),),
        )
    if options.zero_terminal_snr and options.min_snr_gamma is not None:
        yield Problem(
            code="terminal-timestep-untrained",
            message="scheduler.min_snr_gamma weights by the SNR, which zero_terminal_snr makes 0 at the last timestep, "
            "so the timestep from which sampling starts is not trained",
            path=(*context.path, "min_snr_gamma"),
            related=((*context.path, "zero_terminal_snr"),),
            severity="notice",
        )


def steps_fit(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Refuse written `sampling.steps` that the sampler cannot take; lower the default."""
    sampling, most, path = context.config.sampling, context.options.num_train_timesteps, ("sampling", "steps")
    sampler = sampling.sampler or context.options.samplers[0]
    if sampler not in STRIDED or sampling.steps <= most:
        return
    reason = f"sampler {sampler} takes at most the {most} steps of scheduler.num_train_timesteps"
    if path in context.written:
        message = f"sampling.steps is {sampling.steps}, but {reason}"
        yield Problem(code="too-many-steps", message=message, path=path, help=(f"set at most {most}",))
    else:
        yield Adjustment(path, most, reason)
