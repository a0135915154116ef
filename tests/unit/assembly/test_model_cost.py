from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny_parts import CONFIG

from dit_run import load_config
from dit_run.assembly.model_cost import ModelPart, cost_of

PATCHES, TOKENS, WIDTH, CHANNELS, TEXT, GATED = 16, 77, 16, 3 * 4 * 4, 8, 40
"""Of the tiny model: patches of an image, tokens of the longest caption, widths."""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def test_every_product_of_matrices_counts(tiny: Path) -> None:
    seen = TOKENS + 1  # the learned token stands before the caption
    ends = 2 * PATCHES * CHANNELS * WIDTH + TOKENS * TEXT * WIDTH
    condition = (256 + WIDTH + TEXT + 6 * WIDTH + 2 * WIDTH) * WIDTH
    self_attention = 4 * PATCHES * WIDTH**2 + 2 * PATCHES * PATCHES * WIDTH
    cross_attention = 2 * PATCHES * WIDTH**2 + 2 * seen * WIDTH**2 + 2 * PATCHES * seen * WIDTH
    mlp = 3 * PATCHES * WIDTH * GATED
    words = 4 * TOKENS * TEXT**2 + 2 * TOKENS**2 * TEXT + 8 * TOKENS * TEXT**2
    cost = cost_of(load_config(tiny))
    assert [part.flops for part in cost.parts] == [
        2 * (ends + condition + self_attention + cross_attention + mlp),
        2 * words,
    ]
    assert (cost.latents, cost.text_length) == ((3, 16, 16), TOKENS)


def test_frozen_parameters_are_counted_apart(tiny: Path) -> None:
    model, text = cost_of(load_config(tiny, "training.freeze=[text_encoder, blocks]")).parts
    whole = {part.name: part.parameters for part in cost_of(load_config(tiny)).parts}
    assert (model.parameters, text.parameters) == (whole["model"], whole["text_encoder"])
    assert 0 < model.trained < model.parameters
    assert text.trained == 0


def test_parameters_are_those_that_a_run_trains(tiny: Path) -> None:
    from tests.tiny_parts import assembled

    denoiser = assembled(tiny.parent).denoiser
    counted = {name: sum(p.numel() for p in getattr(denoiser, name).parameters()) for name in ("model", "text_encoder")}
    assert {part.name: part.parameters for part in cost_of(load_config(tiny)).parts} == counted


def test_the_largest_model_takes_no_memory(tiny: Path) -> None:
    huge = ["model.hidden_size=16384", "model.num_layers=100"]
    (model, _) = cost_of(load_config(tiny, *huge)).parts
    assert isinstance(model, ModelPart)
    assert model.parameters > 10**11


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_the_kind_of_norm_costs_nothing(tiny: Path, norm: str) -> None:
    assert cost_of(load_config(tiny, f"model.norm={norm}")) == cost_of(load_config(tiny))


def test_any_model_is_counted(tiny: Path) -> None:
    pixart = (
        "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3,"
        " out_channels: 3}"
    )
    (model, words) = cost_of(load_config(tiny, pixart)).parts
    assert model.flops > 0
    assert words.flops == cost_of(load_config(tiny)).parts[1].flops


def test_routed_patches_cost_less_in_training(tiny: Path) -> None:
    words = ("model.num_layers=3", "model.routed_share=0.5", "model.routed_blocks=[1, 1]")
    routed, plain = (cost_of(load_config(tiny, *given)).parts[0] for given in (words, words[:1]))
    seen, left = TOKENS + 1, PATCHES // 2
    self_attention = 4 * left * WIDTH**2 + 2 * (PATCHES**2 - left**2) * WIDTH
    cross_attention = 2 * left * WIDTH**2 + 2 * left * seen * WIDTH
    saved = self_attention + cross_attention + 3 * left * WIDTH * GATED
    assert (plain.training_flops, routed.flops) == (plain.flops, plain.flops)
    assert routed.training_flops == plain.flops - 2 * saved
