"""The contract of a metric."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dit_run.protocols import Metric
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.tiny_run import tiny_config

__all__ = ["CHECKS", "check_metric"]

_MOST = 8
_SIDE = 32


def check_metric(component: Component | str | Path, **options: Any) -> None:
    """Test a metric with these options on a few images of noise.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.METRIC, component, options), CHECKS)


def _references(count: int) -> list[tuple[Image.Image, str]]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, _SIDE, _SIDE, 3), dtype=np.uint8)
    return [(Image.fromarray(image), f"image {index}") for index, image in enumerate(pixels)]


def _make(subject: Subject) -> Metric:
    with tempfile.TemporaryDirectory() as folder:
        metric = subject.make(config=tiny_config(Path(folder), {}), references=_references)
    subject.methods(metric, ("prompts", "score"), "see dit_run.protocols.Metric")
    count = subject.attribute(metric, "count", int, "Metric")
    subject.expect(count > 0, f"Metric.count is {count}; set it to the number of images to score, at least 1")
    return metric  # type: ignore[no-any-return]


def _prompts(metric: Metric) -> list[str]:
    count = min(metric.count, _MOST)
    wanted = metric.prompts(count)
    return [caption for _, caption in _references(count)] if wanted is None else list(wanted)


def names_its_prompts(subject: Subject) -> None:
    """Check that prompts(count) returns None, or count strings that never change."""
    metric, other = _make(subject), _make(subject)
    count = min(metric.count, _MOST)
    prompts = metric.prompts(count)
    if prompts is None:
        return
    subject.expect(
        len(prompts) == count and all(isinstance(prompt, str) for prompt in prompts),
        f"prompts({count}) returned {len(prompts)} items; return {count} strings, or None for held-out captions",
    )
    subject.expect(
        list(prompts) == list(other.prompts(count) or ()),
        f"prompts({count}) differ after a second build; "
        "use no random numbers, because scores of two runs must be comparable",
    )


def scores_images(subject: Subject) -> None:
    """Check that score() returns finite numbers by name, the same for the same images, and changes no image."""
    metric = _make(subject)
    prompts = _prompts(metric)
    images = [image for image, _ in _references(len(prompts))]
    before, said = [image.tobytes() for image in images], list(prompts)
    scores, again = metric.score(images, prompts), _make(subject).score(images, prompts)
    _expect_numbers(subject, scores)
    for name in scores:
        subject.expect(
            again.get(name) == scores[name],
            f"score {name!r} is {scores[name]:g} and then {again.get(name)} for the same images; use no random numbers",
        )
    subject.expect([image.tobytes() for image in images] == before, "score() changed an image; work on a copy")
    subject.expect(list(prompts) == said, "score() changed the list of prompts; work on a copy")
    later = metric.score(images, prompts)
    subject.expect(
        dict(later) == dict(scores),
        f"a second score() returns {dict(later)}, and the first one {dict(scores)}; keep no state between calls, "
        "because a run scores many times",
    )


def _expect_numbers(subject: Subject, scores: object) -> None:
    if not isinstance(scores, Mapping):
        subject.fail(f"score() returned {type(scores).__name__}; return a mapping of names to floats")
    subject.expect(bool(scores), "score() returned nothing; return at least one named number")
    for name, value in scores.items():
        subject.expect(
            isinstance(name, str) and isinstance(value, float | int) and math.isfinite(value),
            f"score {name!r} is {value!r}; return a finite Python float",
        )


CHECKS: tuple[Check, ...] = (names_its_prompts, scores_images)
