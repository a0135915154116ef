"""Prompts to pictures: whose noise is whose, guidance, sizes and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_parts import Parts, assembled

from dit_run.model.guidance import Guidance
from dit_run.problems import InputError
from dit_run.sampling.pipeline import SamplingRequest

PROMPTS = ("a red circle", "a blue square to the left of a green cross on a white background", "", "a cross", "two")

DDPM = ("scheduler.type=ddpm", "sampling.sampler=null")


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return assembled(tmp_path_factory.mktemp("ddpm"), *DDPM)


def request_for(*prompts: str, **changes: Any) -> SamplingRequest:
    return replace(SamplingRequest(prompts, 16, 16, steps=3, guidance=Guidance(3.0), seed=5), **changes)


def drawn(parts: Parts, *prompts: str, **changes: Any) -> NDArray[np.int64]:
    """int64 [n, H, W, 3]."""
    return np.stack([np.asarray(image, np.int64) for image in parts.pipeline.images(request_for(*prompts, **changes))])


def furthest(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    return int(np.abs(one - other).max())


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_two_batch_sizes_draw_the_same_pictures(ddpm: Parts, sampler: str) -> None:
    whole = drawn(ddpm, *PROMPTS, batch_size=5, sampler=sampler)
    for size in (1, 2):
        assert furthest(whole, drawn(ddpm, *PROMPTS, batch_size=size, sampler=sampler)) <= 2


def test_two_batch_sizes_draw_the_same_pictures_of_a_flow(parts: Parts) -> None:
    assert furthest(drawn(parts, *PROMPTS, batch_size=5), drawn(parts, *PROMPTS, batch_size=2)) <= 2


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_picture_i_depends_on_seed_plus_i_alone(ddpm: Parts, sampler: str) -> None:
    together = drawn(ddpm, *PROMPTS, sampler=sampler)
    assert furthest(together[3:4], drawn(ddpm, PROMPTS[3], seed=8, sampler=sampler)) <= 2


def test_seeds_draw_different_pictures(parts: Parts) -> None:
    one, other = drawn(parts, "a cross", "a cross")
    assert furthest(one, other) > 20


def test_prompts_draw_different_pictures(parts: Parts) -> None:
    assert furthest(drawn(parts, "a red circle"), drawn(parts, "a blue square")) > 2


def test_guidance_moves_pictures_and_a_scale_of_one_is_none(parts: Parts) -> None:
    plain = drawn(parts, "a cross", guidance=Guidance())
    assert furthest(plain, drawn(parts, "a cross", guidance=Guidance(1.0))) == 0
    assert furthest(plain, drawn(parts, "a cross", guidance=Guidance(6.0))) > 2


def test_a_negative_prompt_moves_pictures(parts: Parts) -> None:
    plain = drawn(parts, "a cross")
    assert furthest(plain, drawn(parts, "a cross", negative_prompt="")) == 0
    blue = drawn(parts, "a cross", negative_prompt="a blue square")
    assert furthest(plain, blue) > 2
    assert furthest(blue, drawn(parts, "a cross", negative_prompt="a red circle")) > 2


def test_other_sizes_and_sides_are_drawn(parts: Parts) -> None:
    assert drawn(parts, "a cross", height=24, width=8).shape == (1, 24, 8, 3)


def test_the_denoiser_keeps_its_mode(tmp_path: Path) -> None:
    parts = assembled(tmp_path)
    for training in (True, False):
        parts.denoiser.train(training)
        drawn(parts, "a cross", steps=1)
        assert parts.denoiser.training is training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 18}, "pictures of 18x16 pixels: height and width must be multiples of 4 "),
        ({"sampler": "ddim"}, "sampler 'ddim' does not fit this scheduler; it offers "),
        ({"steps": 0}, "sampling takes at least 1 step, not 0"),
        ({"seed": -1}, "a sampling seed is a number from 0 to "),
        ({"seed": 2**63}, "a sampling seed is a number from 0 to "),
        ({"guidance": Guidance(-2.0)}, "a guidance scale is a number of at least 0, not -2"),
        ({"guidance": Guidance(float("nan"))}, "a guidance scale is a number of at least 0, not nan"),
    ],
)
def test_what_does_not_fit_is_refused(parts: Parts, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(parts, "a cross", **changes)
