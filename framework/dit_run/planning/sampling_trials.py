"""Trials of sampling: the memory and time of images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median

from dit_run.compute.out_of_memory import OutOfMemory, translate_working
from dit_run.compute.timing import seconds_of
from dit_run.planning.measurements import SamplingCost
from dit_run.planning.trial_run import TrialRun
from dit_run.sampling.sampling_request import SamplingRequest
from dit_run.sampling.trained_sizes import default_size
from dit_run.training.scoring import preview_prompts

__all__ = ["try_sampling"]

BUDGET = 10.0
"""Time for all trials (seconds)."""
FEW_STEPS, MORE_STEPS = 2, 4
"""Sampling steps of the trials (number)."""


def try_sampling(trial: TrialRun, most: int) -> SamplingCost:
    """Sample 1, 2, 4 ... ``most`` images at a time, as far as time and memory allow; few images take longer each.

    Raises OutOfMemory where one image does not fit.
    """
    peaks, failed = _peaks(trial, most)
    count = peaks[-1][0]
    short, long = (
        median(seconds_of(partial(_sample, trial, count, steps), trial.parts.device, clock=trial.clock))
        for steps in (FEW_STEPS, MORE_STEPS)
    )
    evaluation = max(0.0, (long - short) / ((MORE_STEPS - FEW_STEPS) * count))
    return SamplingCost(peaks, evaluation, max(0.0, short / count - FEW_STEPS * evaluation), failed)


def _peaks(trial: TrialRun, most: int) -> tuple[list[tuple[int, float]], int]:
    """Return (images at a time, peak memory), and the number of images that ran out of memory or 0."""
    peaks: list[tuple[int, float]] = []
    began, last = trial.clock(), 0.0
    for count in (*(2**power for power in range(most.bit_length()) if 2**power < most), most):
        if peaks and trial.clock() - began + 2 * last > BUDGET:
            break
        left, begun = trial.begin_trial(), trial.clock()
        try:
            with translate_working("sampling one image", "take a smaller model or data.image_size"):
                _sample(trial, count, FEW_STEPS)
        except OutOfMemory:
            if not peaks:
                raise
            return peaks, count
        peaks.append((count, float(trial.meter.peak - left)))
        last = trial.clock() - begun
    return peaks, 0


def _sample(trial: TrialRun, count: int, steps: int) -> None:
    config, data = trial.parts.config, trial.parts.data
    prompts = (preview_prompts(config, data) * count)[:count]
    pipeline = trial.parts.pipeline
    size = default_size(config, pipeline.size_unit)
    request = SamplingRequest.of(config.sampling, prompts, size=size, batch_size=count)
    for _ in pipeline.images(replace(request, steps=steps)):
        pass
