"""Runs with image transformers of diffusers: train, continue and sample, new or with pretrained weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl
from image_transformers import CONFIGS, tiny_transformer
from runs import Command, Run, Train

GIVEN = ("training.max_steps=6", "training.save_steps=3", "validation.every_n_steps=null")
WIDTHS = {"caption_channels": 8, "in_channels": 3, "out_channels": 6}


def new(name: str) -> str:
    return f"model={{type: diffusers_transformer, class_name: {name}, config: {json.dumps(CONFIGS[name])}}}"


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_trains_continues_and_samples(
    name: str, train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    given = (*GIVEN, new(name))
    whole = train(*given, output="whole")
    half = train(*given, "training.max_steps=3", output="half")
    assert half.learnt() != whole.learnt()
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == whole.learnt()
    assert command("sample", "whole", "a red circle", "--output", "new.png").status == 0
    assert (tmp_path / "new.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixart", "diffusers_transformer"])
def test_a_pretrained_start_trains_continues_and_samples_without_its_folder(
    kind: str, train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    folder = tiny_transformer(tmp_path / "px", "PixArtTransformer2DModel", **WIDTHS)
    given = (*GIVEN, f"model={{type: {kind}, pretrained_model_name: px}}", "scheduler={type: ddpm}")
    whole = train(*given, output="whole")
    half = train(*given, "training.max_steps=3", output="half")
    result = command(config, *given, "training.output_dir=half")
    assert result.status == 0
    assert "loaded from px" not in result.words
    assert Run(half.path).learnt() == whole.learnt()
    folder.rename(tmp_path / "elsewhere")
    assert command("sample", "whole", "a red circle", "--output", "new.png").status == 0
    assert command("whole/config.yaml", "training.max_steps=7").status == 0


@pytest.mark.slow
def test_check_tells_what_was_loaded(command: Command, config: Path, tmp_path: Path) -> None:
    tiny_transformer(tmp_path / "px", "PixArtTransformer2DModel", **WIDTHS)
    result = command("check", config, "model={type: pixart, pretrained_model_name: px}", "scheduler={type: ddpm}")
    assert "36 tensors with 11,480 values loaded from px (PixArtTransformer2DModel, float32)" in result.words


@pytest.mark.parametrize("kind", ["pixart", "diffusers_transformer"])
def test_weights_for_other_latents_are_refused_before_anything_is_encoded(
    kind: str, command: Command, config: Path, tmp_path: Path
) -> None:
    tiny_transformer(tmp_path / "px", "PixArtTransformer2DModel", **WIDTHS)
    tiny_autoencoder_kl(tmp_path / "kl")
    vae = "vae={type: autoencoder_kl, pretrained_model_name: kl}"
    result = command(config, f"model={{type: {kind}, pretrained_model_name: px}}", "scheduler={type: ddpm}", vae)
    assert result.status == 2
    assert "error[channels-do-not-fit]: px has 3 latent channels, but the latents of VAE autoencoder_kl have 4" in (
        result.words
    )
    assert not (tmp_path / "run").exists()
