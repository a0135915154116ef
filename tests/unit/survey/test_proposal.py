"""The proposed config: choices that follow from the images and the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dit_run.survey.machine import Machine
from dit_run.survey.proposal import Plan, Proposal
from dit_run.survey.recognition import FoundData
from dit_run.survey.statistics import ImageStatistics

CPU = Machine("cpu", "cpu", 8 * 10**9, 4, False, 10**11)
GPU = Machine("cuda", "a card", 80 * 10**9, 16, True, 10**12)


def proposed(count: int, size: tuple[int, int], machine: Machine, **options: Any) -> Proposal:
    heights, widths = (np.full(count, side, dtype=np.int64) for side in size)
    images = ImageStatistics(np.arange(count), heights, widths, np.ones(count, dtype=np.int64), {}, count)
    found = FoundData("custom", {"dataset_path": "own"}, "a folder of images", [], "error")  # type: ignore[arg-type]
    return Proposal(found, images, machine, "./outputs/own", **options)


def values(proposal: Proposal) -> dict[str, Any]:
    return {f"{line.section}.{line.key}": line.value for line in proposal.lines()}


@pytest.mark.parametrize(
    ("count", "size", "machine", "pretrained", "base", "side"),
    [
        (1000, (512, 512), CPU, True, "quickstart.yaml", 32),
        (1000, (512, 512), GPU, True, "small.yaml", 256),
        (50_000, (512, 512), GPU, True, "medium.yaml", 256),
        (1000, (512, 512), GPU, False, "quickstart.yaml", 64),
        (1000, (40, 40), GPU, True, "quickstart.yaml", 32),
    ],
)
def test_model_and_size_follow_from_images_and_machine(
    count: int, size: tuple[int, int], machine: Machine, pretrained: bool, base: str, side: int
) -> None:
    proposal = proposed(count, size, machine, pretrained=pretrained)
    assert (proposal.base[0], proposal.image_size) == (base, side)
    assert ("metrics." in values(proposal)) == (base == "quickstart.yaml")  # whose scores are those of shapes


def test_images_that_are_no_squares_get_buckets() -> None:
    assert values(proposed(100, (300, 400), GPU))["data.buckets"] == "auto"
    assert values(proposed(100, (400, 404), GPU))["data.buckets"] is None


def test_buckets_follow_from_the_size_that_was_chosen() -> None:
    small, large = (list(proposed(100, (300, 400), CPU, chosen_size=size).lines()) for size in (16, 64))
    (line,) = (line for line in small if line.key == "buckets")
    assert (line.value, line.reason) == (None, "25% of the pixels are cropped; no other size is near 16x16")
    (line,) = (line for line in large if line.key == "buckets")
    assert (line.value, line.reason) == ("auto", "squares would crop 25% of the pixels, these sizes 3.6%")


@pytest.mark.parametrize(("count", "samples", "steps"), [(30, 16, 1000), (600, 64, 1900), (100_000, 64, 2000)])
def test_length_follows_from_the_number_of_images(count: int, samples: int, steps: int) -> None:
    proposal = proposed(count, (64, 64), CPU)
    assert (proposal.samples_per_step, proposal.steps) == (samples, steps)


@pytest.mark.parametrize(
    ("machine", "precision"),
    [(CPU, "no"), (replace(CPU, has_bfloat16=True), "bf16"), (GPU, "bf16"), (replace(GPU, has_bfloat16=False), "fp16")],
)
def test_precision_is_the_fastest_of_the_device(machine: Machine, precision: str) -> None:
    assert values(proposed(600, (64, 64), machine))["training.mixed_precision"] == precision


def test_the_split_of_the_batch_is_that_of_the_plan() -> None:
    planned = values(proposed(1000, (64, 64), CPU).planned(Plan(16, 4, "by plan", 0.5, 0)))
    assert planned["training.batch_size"] == 16
    assert planned["training.gradient_accumulation_steps"] == 4
