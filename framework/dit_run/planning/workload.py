"""The workload of a config: the number and size of everything that its run does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dit_run.assembly.prepare import Data
from dit_run.sampling.sampling_request import PREVIEW_BATCH, SCORING_BATCH
from dit_run.settings import Config
from dit_run.system.cores import usable_cores
from dit_run.training.schedule import Schedule
from dit_run.training.scoring import build_metrics, preview_prompts

__all__ = ["Workload", "workload_of"]


@dataclass(frozen=True)
class Workload:
    """The work of a run."""

    batch_size: int
    accumulation: int
    steps: int
    workers: int
    """With 0 the training process waits for its data."""
    kept_checkpoints: int | None
    """Most checkpoints at a time; None keeps all."""
    checkpoints: int
    """Checkpoints that are written (number)."""
    validations: int
    validation_passes: int
    """Forward passes of samples in one validation (number)."""
    previews: int
    preview_images: int
    scorings: int
    scored_images: int
    sampling_steps: int
    powers_of_two: bool = False
    """True where ``training.elastic_exact`` needs powers of two of micro-batches."""

    @property
    def effective_batch(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.accumulation

    @property
    def images_at_a_time(self) -> Mapping[str, int]:
        """Images that are sampled together, by purpose."""
        counts = {
            "previews": min(self.preview_images, PREVIEW_BATCH) if self.previews else 0,
            "metrics": min(self.scored_images, SCORING_BATCH) if self.scorings else 0,
        }
        return {name: count for name, count in counts.items() if count}


def workload_of(config: Config, data: Data) -> Workload:
    """Return the workload of this config on this data. Raises InputError for a metric without the files it needs."""
    training, schedule = config.training, Schedule(config, data.run_length)
    sizes = [len(samples) for samples in (data.train, data.validation) if samples is not None]
    passes = sum(min(size, config.validation.num_samples) for size in sizes) * config.validation.timestep_bins
    scored = [metric.count for _, metric in build_metrics(config, data)]
    return Workload(
        batch_size=training.batch_size,
        accumulation=training.gradient_accumulation_steps,
        steps=data.run_length.total_steps,
        workers=min(training.num_workers, usable_cores()),
        kept_checkpoints=training.save_total_limit,
        checkpoints=schedule.saves_after(0),
        validations=schedule.validations,
        validation_passes=passes * (2 if config.average_names else 1),
        previews=schedule.samplings,
        preview_images=len(preview_prompts(config, data)),
        scorings=schedule.scorings if scored else 0,
        scored_images=sum(scored),
        sampling_steps=config.sampling.steps,
        powers_of_two=training.elastic_exact,
    )
