"""ddpm: diffusion over discrete timesteps, with the samplers of the same coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import PositiveFloat, bounds
from dit_run.problems import Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.schedulers.sampler_rule import sampler_problems

__all__ = ["SAMPLERS", "Ddpm", "combinations_fit", "sampler_fits"]

SAMPLERS = ("ddim", "ddpm", "dpm-solver++", "heun")
STRIDED = ("ddim", "ddpm")
"""Samplers that visit whole timesteps, so that they take at most num_train_timesteps steps."""


@dataclass(frozen=True, kw_only=True)
class Ddpm:
    """Denoising diffusion (Ho et al. 2020): noise is added over discrete timesteps, and predicted."""

    num_train_timesteps: Annotated[int, bounds(ge=2)] = 1000
    """How many noise levels there are. The model always sees timesteps in [0, 1000]."""
    beta_start: Annotated[float, bounds(gt=0, lt=1)] = 0.00085
    """Noise added by the first timestep."""
    beta_end: Annotated[float, bounds(gt=0, lt=1)] = 0.012
    """Noise added by the last timestep."""
    beta_schedule: Literal["scaled_linear", "linear", "squaredcos_cap_v2"] = "scaled_linear"
    """How the noise grows: linear in its square root, linear, or a squared cosine, which sets its own start and end."""
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    """What the model returns: the noise, the velocity alpha * noise - sigma * latents, or the clean latents."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that its last timestep is pure noise (Lin et al. 2023); not for epsilon."""
    min_snr_gamma: PositiveFloat | None = None
    """Weigh the loss by min(SNR, gamma), put in terms of the prediction (Hang et al. 2023; 5 is usual); null weighs
    all timesteps alike."""


def combinations_fit(context: RuleContext) -> Iterator[Problem]:
    """Options of the scheduler that exclude one another."""
    options: Ddpm = context.options
    if options.zero_terminal_snr and options.prediction_type == "epsilon":
        yield Problem(
            code="zero-terminal-snr-epsilon",
            message="scheduler.zero_terminal_snr does not fit prediction_type epsilon: at the last timestep the "
            "noisy latents are the noise itself, and predicting it says nothing about the picture",
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
            message="scheduler.min_snr_gamma weighs by the SNR, which zero_terminal_snr makes 0 at the last timestep: "
            "the one that sampling starts from is not trained",
            path=(*context.path, "min_snr_gamma"),
            related=((*context.path, "zero_terminal_snr"),),
            severity="notice",
        )
    yield from _unused_betas(context)


def _unused_betas(context: RuleContext) -> Iterator[Problem]:
    if context.options.beta_schedule != "squaredcos_cap_v2":
        return
    for key in ("beta_start", "beta_end"):
        if (*context.path, key) in context.written:
            yield Problem(
                code="without-effect",
                message=f"scheduler.{key} has no effect: beta_schedule squaredcos_cap_v2 sets its own start and end",
                path=(*context.path, key),
                severity="notice",
            )


def sampler_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """`sampling.sampler` is one of ours, and `sampling.steps` are no more than it can take."""
    yield from sampler_problems(context, SAMPLERS)
    sampling = context.config.sampling
    sampler, most, path = sampling.sampler or SAMPLERS[0], context.options.num_train_timesteps, ("sampling", "steps")
    if sampler not in STRIDED or sampling.steps <= most:
        return
    reason = f"sampler {sampler} can visit the {most} timesteps of scheduler.num_train_timesteps and no more"
    if path in context.written:
        message = f"sampling.steps is {sampling.steps}, but {reason}"
        yield Problem(code="too-many-steps", message=message, path=path, help=(f"set at most {most}",))
    else:
        yield Adjustment(path, most, reason)
