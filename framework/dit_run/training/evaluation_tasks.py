"""The tasks of evaluation: losses of batches of samples, and batches of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from dit_run.compute.out_of_memory import translate_working
from dit_run.problems import DitRunError
from dit_run.sampling.sampling_request import SamplingRequest
from dit_run.training.run_parts import RunParts
from dit_run.training.validation import BatchLosses, ValidationSet

__all__ = ["EvaluationParts", "ImageTask", "LossTask"]


@dataclass(frozen=True)
class EvaluationParts:
    """The parts of a run, with the sets of samples that are evaluated, each chosen once."""

    run: RunParts

    @cached_property
    def held_out(self) -> ValidationSet | None:
        """The held-out samples; None where none are held out."""
        samples = self.run.data.validation
        return None if samples is None else ValidationSet.of(self.run, samples)

    @cached_property
    def probe(self) -> ValidationSet:
        """The probe of training samples."""
        return ValidationSet.of(self.run, self.run.data.train)


@dataclass(frozen=True)
class LossTask:
    """The losses of held-out samples, or of the probe of training samples; an item is a batch."""

    held_out: bool

    def validation_set(self, parts: EvaluationParts) -> ValidationSet:
        """Return the samples with all that is fixed of them. Not for a run that holds out none."""
        chosen = parts.held_out if self.held_out else parts.probe
        assert chosen is not None
        return chosen

    def count(self, parts: EvaluationParts) -> int:
        return len(self.validation_set(parts).batches)

    def results(self, parts: EvaluationParts, numbers: Sequence[int]) -> Iterator[BatchLosses]:
        chosen = self.validation_set(parts)
        return chosen.losses(parts.run.evaluated, [chosen.batches[number] for number in numbers])


@dataclass(frozen=True)
class ImageTask:
    """The images of a request; an item is a batch."""

    request: SamplingRequest
    work: str
    """The work that needs the images, for an error of a device without memory: "sampling previews"."""
    remedy: str
    """Advice in such an error."""
    guided: bool
    """True where the first process has all that guidance needs."""

    def count(self, parts: EvaluationParts) -> int:
        return self.request.batches

    def results(self, parts: EvaluationParts, numbers: Sequence[int]) -> Iterator[list[Image.Image]]:
        pipeline = parts.run.pipeline
        if self.guided != (pipeline.guidance is not None):
            raise DitRunError(
                "another process does not see the checkpoint whose weights guide the images, which the first one sees: "
                "training.output_dir must be on a disk that all machines share, and that shows new files at once"
            )
        with translate_working(self.work, self.remedy):
            yield from pipeline.batches(self.request, numbers)
