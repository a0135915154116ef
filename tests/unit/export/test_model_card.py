"""The model card: licence and origin of the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from builders import tiny_autoencoder_kl
from runs import CONFIG

import dit_run
from dit_run.export.export_options import ExportOptions
from dit_run.export.model_card import TrainedWeights, model_card


def card(folder: Path, options: ExportOptions, *words: str) -> str:
    (folder / "tiny.yaml").write_text(CONFIG)
    config = dit_run.load_config(folder / "tiny.yaml", "sampling.prompts=[a circle]", *words)
    return model_card(config, TrainedWeights({"a": torch.zeros(3)}, 7, 8, "ema"), folder, options, None)


def test_a_licence_stands_in_the_head_and_in_the_text(tmp_path: Path) -> None:
    text = card(tmp_path, ExportOptions(license="apache-2.0"))
    assert text.startswith("---\nlicense: apache-2.0\nlibrary_name: dit-run\n")
    assert text.endswith("## Licence\n\nThe licence of the trained weights is apache-2.0.\n")


def test_pretrained_weights_of_the_model_are_named_with_their_licence(tmp_path: Path) -> None:
    text = card(tmp_path, ExportOptions(), "model={type: pixart, pretrained_model_name: ann/px}", "scheduler.type=ddpm")
    assert "\nlicense: unknown\nbase_model: ann/px\nlibrary_name" in text
    assert "The model began with the weights of ann/px, whose licence may hold for the trained ones too." in text


def test_a_local_path_is_shown_by_its_last_part(tmp_path: Path) -> None:
    vae = tiny_autoencoder_kl(tmp_path / "secret" / "kl")
    words = (
        f"vae={{type: autoencoder_kl, pretrained_model_name: {vae}}}",
        "model.in_channels=4",
        "model.out_channels=4",
    )
    text = card(tmp_path, ExportOptions(), *words)
    assert "- vae autoencoder_kl: kl\n" in text
    assert "secret" not in text
