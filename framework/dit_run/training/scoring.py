"""Scoring by metrics, with their prompts and reference images.

If no samples are held out, a metric that needs captions or reference images gets those of training samples. Its scores
then end in ``_train``, because they are not comparable with those of held-out samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from PIL import Image

from dit_run.assembly.prepare import Data
from dit_run.compute.out_of_memory import translate_working
from dit_run.protocols import Metric
from dit_run.registry.factories import make, takes
from dit_run.sampling.sampling_request import SCORING_BATCH, SamplingRequest
from dit_run.settings import Config

__all__ = ["build_metrics", "captions_of", "memory_advice", "preview_prompts", "score", "scoring_notices"]


def build_metrics(config: Config, data: Data) -> list[tuple[str, Metric]]:
    """Return the config's metrics by type. Raises InputError for a metric without the files that it needs."""

    def references(count: int) -> list[tuple[Image.Image, str]]:
        return _references(data, count)

    return [
        (choice.type, make(choice.component, choice.options, config=config, references=references))
        for choice in config.metrics
    ]


def score(
    metrics: Sequence[tuple[str, Metric]],
    config: Config,
    data: Data,
    sample: Callable[[SamplingRequest, str], Sequence[Image.Image]],
    scoring: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, float]:
    """Return the scores of every metric, its type before each name: ``shapes/wholly_right``.

    ``sample`` returns the images of a request for the metric of this name, ``scoring`` a context for the metric itself.
    """
    on_train = set(_on_training_samples(metrics, config, data))
    values: dict[str, float] = {}
    for name, metric in metrics:
        prompts = metric.prompts(metric.count) or captions_of(data, metric.count)
        side = config.data.common.image_size
        request = SamplingRequest.of(config.sampling, prompts, size=(side, side), batch_size=SCORING_BATCH)
        with translate_working(*memory_advice(name, metric)):
            images = sample(request, name)
            with scoring():
                scores = metric.score(images, prompts)
        suffix = "_train" if name in on_train else ""
        values |= {f"{name}/{part}{suffix}": value for part, value in scores.items()}
    return values


def memory_advice(name: str, metric: Metric) -> tuple[str, str]:
    """Return what scoring by a metric is called, and the advice where it runs out of memory."""
    return f"scoring by the metric {name}", f"lower its count of {metric.count} images"


def scoring_notices(metrics: Sequence[tuple[str, Metric]], config: Config, data: Data) -> Iterator[str]:
    """Yield notices about the metrics that use training samples, and those that score fewer images than their count."""
    yield from _training_samples_notice(sorted(set(_on_training_samples(metrics, config, data))))
    samples, side = (data.train, "used for training") if data.validation is None else (data.validation, "held out")
    for name, metric in metrics:
        if len(samples) < metric.count and not metric.prompts(metric.count):
            yield (
                f"{name} scores {len(samples)} images instead of its count of {metric.count}, because only "
                f"{len(samples)} samples are {side}; its scores cannot be compared with those of other counts"
            )


def _training_samples_notice(names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    yield (
        f"no samples are held out, so {' and '.join(names)} {'uses' if len(names) == 1 else 'use'} training samples; "
        "the names of these scores end in _train, because they say nothing about new images. Lower data.train_split to "
        "hold out some"
    )


def _on_training_samples(metrics: Sequence[tuple[str, Metric]], config: Config, data: Data) -> Iterator[str]:
    """Yield the names of the metrics whose prompts or reference images are those of training samples."""
    components = {choice.type: choice.component for choice in config.metrics}
    for name, metric in metrics if data.validation is None else ():
        if takes(components[name], "references") or not metric.prompts(metric.count):
            yield name


def preview_prompts(config: Config, data: Data) -> tuple[str, ...]:
    """Return the config's prompts, or captions of samples."""
    return config.sampling.prompts or captions_of(data, config.sampling.num_images)


def captions_of(data: Data, count: int) -> tuple[str, ...]:
    """Return captions of held-out samples, or of training samples if none are held out."""
    samples = (data.validation or data.train).squares().without_augmentation()
    return tuple(visit.caption for visit in samples.visits(range(min(count, len(samples)))))


def _references(data: Data, count: int) -> list[tuple[Image.Image, str]]:
    """Return samples without augmentation: neither mirrored nor cropped at random, whatever the training does."""
    samples = (data.validation or data.train).squares().without_augmentation()
    reading = samples.read(range(min(count, len(samples))), samples.pixels)
    return [
        (Image.fromarray(pixels), visit.caption) for visit, pixels in zip(reading.visits, reading.values, strict=True)
    ]
