"""Sampling: which noise an image gets, guidance, sizes, and requests that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_parts import Parts, assembled

from dit_run.model.guided_prediction import GuidanceSettings
from dit_run.problems import InputError
from dit_run.sampling.sampling_request import SamplingRequest

PROMPTS = ("a red circle", "a blue square to the left of a green cross on a white background", "", "a cross", "two")

DDPM = ("scheduler.type=ddpm", "sampling.sampler=null")


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return assembled(tmp_path_factory.mktemp("ddpm"), *DDPM)


def request_for(*prompts: str, **changes: Any) -> SamplingRequest:
    return replace(SamplingRequest(prompts, 16, 16, steps=3, guidance=GuidanceSettings(3.0), seed=5), **changes)


def sampled(parts: Parts, *prompts: str, **changes: Any) -> NDArray[np.int64]:
    """int64 [n, H, W, 3]."""
    return np.stack([np.asarray(image, np.int64) for image in parts.pipeline.images(request_for(*prompts, **changes))])


def furthest(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    return int(np.abs(one - other).max())


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_two_batch_sizes_sample_the_same_images(ddpm: Parts, sampler: str) -> None:
    whole = sampled(ddpm, *PROMPTS, batch_size=5, sampler=sampler)
    for size in (1, 2):
        assert furthest(whole, sampled(ddpm, *PROMPTS, batch_size=size, sampler=sampler)) <= 2


def test_two_batch_sizes_sample_the_same_images_of_a_flow(parts: Parts) -> None:
    assert furthest(sampled(parts, *PROMPTS, batch_size=5), sampled(parts, *PROMPTS, batch_size=2)) <= 2


def test_guidance_by_routed_patches_depends_on_the_image_alone(tmp_path: Path) -> None:
    routed = assembled(tmp_path, "guidance.type=tread", "model={num_layers: 3, routed_share: 0.5}")
    whole = sampled(routed, *PROMPTS, batch_size=5)
    assert furthest(whole, sampled(routed, *PROMPTS, batch_size=2)) <= 2
    assert furthest(whole, sampled(routed, *PROMPTS, guidance=GuidanceSettings(1.0))) > 2


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_image_i_depends_on_seed_plus_i_alone(ddpm: Parts, sampler: str) -> None:
    together = sampled(ddpm, *PROMPTS, sampler=sampler)
    assert furthest(together[3:4], sampled(ddpm, PROMPTS[3], seed=8, sampler=sampler)) <= 2


def test_seeds_give_different_images(parts: Parts) -> None:
    one, other = sampled(parts, "a cross", "a cross")
    assert furthest(one, other) > 20


def test_prompts_give_different_images(parts: Parts) -> None:
    assert furthest(sampled(parts, "a red circle"), sampled(parts, "a blue square")) > 2


def test_guidance_changes_images_and_a_scale_of_one_is_no_guidance(parts: Parts) -> None:
    plain = sampled(parts, "a cross", guidance=GuidanceSettings())
    assert furthest(plain, sampled(parts, "a cross", guidance=GuidanceSettings(1.0))) == 0
    assert furthest(plain, sampled(parts, "a cross", guidance=GuidanceSettings(6.0))) > 2


def test_images_have_scales_of_their_own_in_batches_of_any_size(parts: Parts) -> None:
    scales = (3.0, 1.0, 6.0, 1.0, 0.0)
    whole = sampled(parts, *PROMPTS, guidance=GuidanceSettings(scales))
    halves = sampled(parts, *PROMPTS, guidance=GuidanceSettings(scales), batch_size=2)
    assert furthest(whole, halves) <= 2
    for index, scale in enumerate(scales):
        alone = sampled(parts, PROMPTS[index], seed=5 + index, guidance=GuidanceSettings(scale))
        assert furthest(whole[index : index + 1], alone) <= 2


def test_a_negative_prompt_changes_images(parts: Parts) -> None:
    plain = sampled(parts, "a cross")
    assert furthest(plain, sampled(parts, "a cross", negative_prompt="")) == 0
    blue = sampled(parts, "a cross", negative_prompt="a blue square")
    assert furthest(plain, blue) > 2
    assert furthest(blue, sampled(parts, "a cross", negative_prompt="a red circle")) > 2


def test_other_sizes_and_sides_are_sampled(parts: Parts) -> None:
    assert sampled(parts, "a cross", height=24, width=8).shape == (1, 24, 8, 3)


def test_the_denoiser_keeps_its_mode(tmp_path: Path) -> None:
    parts = assembled(tmp_path)
    for training in (True, False):
        parts.denoiser.train(training)
        sampled(parts, "a cross", steps=1)
        assert parts.denoiser.training is training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 18}, "the image size is 18x16 pixels; height and width must be multiples of 4 "),
        ({"sampler": "ddim"}, "this run's scheduler has no sampler 'ddim'; use one of euler"),
        ({"steps": 0}, "sampling needs at least 1 step, not 0"),
        ({"seed": -1}, "the sampling seed must be a number from 0 to "),
        ({"seed": 2**63}, "the sampling seed must be a number from 0 to "),
        ({"guidance": GuidanceSettings(-2.0)}, "the guidance scale must be a number of at least 0, not -2"),
        ({"guidance": GuidanceSettings((2.0, -1.0))}, "there are 2 guidance scales for 1 images; give one for each"),
        ({"guidance": GuidanceSettings((-1.0,))}, "the guidance scale must be a number of at least 0, not -1"),
        ({"guidance": GuidanceSettings(float("nan"))}, "the guidance scale must be a number of at least 0, not nan"),
    ],
)
def test_what_does_not_fit_is_refused(parts: Parts, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampled(parts, "a cross", **changes)
