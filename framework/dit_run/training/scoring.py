"""Scoring by metrics, with their prompts and reference images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from dit_run.assembly.prepare import Data
from dit_run.compute.out_of_memory import translate_working
from dit_run.protocols import Metric
from dit_run.registry.factories import make
from dit_run.reporting import Reporter
from dit_run.sampling.pipeline import SCORING_BATCH, Pipeline, SamplingRequest
from dit_run.settings import Config

__all__ = ["build_metrics", "captions_of", "preview_prompts", "score"]


def build_metrics(config: Config, data: Data) -> list[tuple[str, Metric]]:
    """Return the config's metrics by type. Raises InputError for a metric without the files that it needs."""

    def references(count: int) -> list[tuple[Image.Image, str]]:
        return _references(data, count)

    return [
        (choice.type, make(choice.component, choice.options, config=config, references=references))
        for choice in config.metrics
    ]


def score(
    metrics: Sequence[tuple[str, Metric]], config: Config, data: Data, pipeline: Pipeline, reporter: Reporter
) -> dict[str, float]:
    """Return the scores of every metric, its type before each name: ``shapes/wholly_right``."""
    values: dict[str, float] = {}
    for name, metric in metrics:
        prompts = metric.prompts(metric.count) or captions_of(data, metric.count)
        size = config.data.common.image_size
        request = SamplingRequest.of(config.sampling, prompts, image_size=size, batch_size=SCORING_BATCH)
        with translate_working(f"scoring by the metric {name}", f"lower its count of {metric.count} images"):
            images = pipeline.generate(request, reporter, f"sampling for {name}")
            values |= {f"{name}/{part}": value for part, value in metric.score(images, prompts).items()}
    return values


def preview_prompts(config: Config, data: Data) -> tuple[str, ...]:
    """Return the config's prompts, or captions of samples."""
    return config.sampling.prompts or captions_of(data, config.sampling.num_images)


def captions_of(data: Data, count: int) -> tuple[str, ...]:
    """Return captions of held-out samples, or of training samples if none are held out."""
    samples = (data.validation or data.train).squares()
    return tuple(visit.caption for visit in samples.visits(range(min(count, len(samples)))))


def _references(data: Data, count: int) -> list[tuple[Image.Image, str]]:
    samples = (data.validation or data.train).squares()
    reading = samples.read(range(min(count, len(samples))), samples.pixels)
    return [
        (Image.fromarray(pixels), visit.caption) for visit, pixels in zip(reading.visits, reading.values, strict=True)
    ]
