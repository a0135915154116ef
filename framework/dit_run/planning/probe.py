"""A probe of a run: short trials of its own parts, with a clock and a memory meter."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dit_run.assembly.objectives import build_objectives, features_of
from dit_run.assembly.parts import build_denoiser
from dit_run.assembly.prepare import prepare
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.timing import Clock
from dit_run.model.denoiser import trainable_parameters
from dit_run.planning.batch_trials import BatchTrials
from dit_run.planning.encoding_trials import EncodingTrials
from dit_run.planning.measurements import CacheCost, Measurements
from dit_run.planning.sampling_trials import try_sampling
from dit_run.planning.save_timing import waiting_seconds
from dit_run.planning.trial_run import TrialRun
from dit_run.planning.workload import Workload, workload_of
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.checkpoint_files import needed_bytes
from dit_run.settings import Config
from dit_run.training.run_parts import RunParts
from dit_run.training.saving import saves_behind
from dit_run.training.setup import process_setup

__all__ = ["ProbeResult", "probe"]


@dataclass(frozen=True)
class ProbeResult:
    """The measurements of a probe, and the workload of the config."""

    measured: Measurements
    workload: Workload
    memory: int
    """Memory of the device (bytes)."""
    device: torch.device
    samples: int
    """Training samples (number)."""


def probe(
    config: Config,
    *,
    device: torch.device,
    reporter: Reporter,
    clock: Clock = time.perf_counter,
    meter: MemoryMeter | None = None,
) -> ProbeResult:
    """Build the parts of a run and try them out, without writing to its folder.

    ``clock`` counts seconds; ``meter`` is by default that of the device. Raises InputError as the run would, and
    OutOfMemory where one sample or one image does not fit.
    """
    meter = meter or MemoryMeter(device)
    with process_setup(config.training, device):
        config, data, encoders = prepare(config, device=device)
        denoiser = build_denoiser(config, encoders, torch.device("cpu"))
        objectives = build_objectives(config, denoiser, device, latent_factor=encoders.vae.factor)
        encoders = replace(encoders, features=features_of(objectives))
        encoders, cache, peak = EncodingTrials(config, data, encoders, meter, clock).run()
        parts = RunParts.build(config, data, encoders, device, denoiser=denoiser, objectives=objectives)
        trial = TrialRun.of(parts, meter, clock)
        workload = workload_of(config, data)
        measured = _measure(trial, workload, reporter, cache, peak)
        return ProbeResult(measured, workload, meter.total, device, len(data.train))


def _measure(
    trial: TrialRun, workload: Workload, reporter: Reporter, cache: CacheCost, encoding_peak: float
) -> Measurements:
    batch_trials = BatchTrials(trial)
    reporter.phase("trying batch sizes", 0, 1)
    batch_trials.run()
    reporter.phase("trying batch sizes", 1, 1)
    checkpoint, training = trial.checkpoint(), trial.parts.config.training
    return Measurements(
        parameters=sum(parameter.numel() for _, parameter in trainable_parameters(trial.parts.denoiser)),
        peaks=batch_trials.peaks,
        passes=batch_trials.passes,
        update=trial.timer.typical("optimizer") + trial.timer.typical("average"),
        data=trial.seconds_of_sample(),
        forward=trial.seconds_of_forward(),
        sampling=try_sampling(trial, max(workload.images_at_a_time.values(), default=1)),
        encoding=encoding_peak,
        checkpoint=needed_bytes(checkpoint),
        saving=waiting_seconds(
            checkpoint,
            Path(training.output_dir),
            behind=saves_behind(training.async_save, trial.parts.device),
            clock=trial.clock,
        ),
        cache=cache,
        gradients=trial.gradient_bytes(),
    )
