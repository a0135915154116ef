"""The load of a config: how often and how much of everything its run does."""

from __future__ import annotations

from dit_run.assembly.prepare import Data
from dit_run.planning.forecast import Workload
from dit_run.protocols import Metric
from dit_run.registry.factories import make
from dit_run.settings import Choice, Config
from dit_run.system.cores import usable_cores
from dit_run.training.schedule import Schedule
from dit_run.training.scoring import preview_prompts

__all__ = ["workload_of"]


def workload_of(config: Config, data: Data) -> Workload:
    """The load of this config over this data. Raises InputError for a metric that lacks what it needs."""
    training, schedule, steps = config.training, Schedule(config, data.run_length), data.run_length.total_steps
    sides = [len(samples) for samples in (data.train, data.validation) if samples is not None]
    passes = sum(min(size, config.validation.num_samples) for size in sides) * config.validation.timestep_bins
    metrics = [_scored(config, choice) for choice in config.metrics]
    return Workload(
        batch_size=training.batch_size,
        accumulation=training.gradient_accumulation_steps,
        steps=steps,
        workers=min(training.num_workers, usable_cores()),
        kept_checkpoints=training.save_total_limit,
        checkpoints=schedule.saves_after(0),
        validations=schedule.validations,
        validation_passes=passes * (2 if training.use_ema else 1),
        previews=schedule.drawings,
        preview_pictures=len(preview_prompts(config, data)),
        scorings=schedule.scorings if metrics else 0,
        scored_pictures=sum(metrics),
        sampling_steps=config.sampling.steps,
        powers_of_two=training.elastic_exact,
    )


def _scored(config: Config, choice: Choice) -> int:
    metric: Metric = make(choice.component, choice.options, config=config, references=lambda count: [])
    return metric.count
