"""Weights on a hub are asked for last: parts that do not fit are refused by their small config files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders import hub_repository, tiny_autoencoder_kl, tiny_clip
from image_transformers import tiny_transformer
from runs import CONFIG

from dit_run.assembly.model_cost import cost_of
from dit_run.assembly.prepare import prepare
from dit_run.config.resolve import resolve
from dit_run.hub import DIFFUSERS, Pretrained, deferred_weights
from dit_run.problems import ConfigError, InputError

VAE = "vae={type: autoencoder_kl, pretrained_model_name: tiny/kl}"
TEXT = "text_encoder={type: clip, pretrained_model_name: tiny/clip}"
MODEL = "model={in_channels: 4, out_channels: 4, patch_size: 1}"
LORA = "adapter={type: lora, targets: [nowhere]}"
Prepare = Callable[..., None]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares the tiny config under overrides, with a hub out of reach whose cache lacks the large files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, make in (("kl", tiny_autoencoder_kl), ("clip", tiny_clip)):
        for file in make(hub_repository(tmp_path / "hub", name)).glob("*.safetensors"):
            file.unlink()
    Path("config.yaml").write_text(CONFIG)

    def prepare_it(*overrides: str) -> None:
        prepare(resolve(Path("config.yaml"), [*overrides]).config, device=torch.device("cpu"))

    return prepare_it


def test_weights_that_fit_are_asked_for(prepared: Prepare) -> None:
    with pytest.raises(InputError, match=r"text_encoder\.pretrained_model_name: tiny/clip is not available from the"):
        prepared(VAE, TEXT, MODEL)


def test_latents_that_do_not_fit_come_first(prepared: Prepare) -> None:
    with pytest.raises(ConfigError, match=r"model\.in_channels is 3, but the latents of VAE autoencoder_kl have 4"):
        prepared(VAE, TEXT, "model.in_channels=3")


@pytest.mark.parametrize("kind", ["pixart", "diffusers_transformer"])
def test_texts_that_do_not_fit_pretrained_weights_come_first(prepared: Prepare, kind: str, tmp_path: Path) -> None:
    tiny_transformer(tmp_path / "px", "PixArtTransformer2DModel", caption_channels=24, in_channels=4, out_channels=8)
    with pytest.raises(InputError, match="reads token states of width 24"):
        prepared(VAE, TEXT, f"model={{type: {kind}, pretrained_model_name: px}}", "scheduler={type: ddpm}")


def test_an_adapter_without_targets_comes_first(prepared: Prepare) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    with pytest.raises(InputError, match=r"adapter\.targets: 'nowhere' matches no linear or convolution layer"):
        prepared(VAE, TEXT, MODEL, LORA)


NEEDS_VALUES = """
import torch

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.models.dit import Dit
from dit_run_plugins.models.dit.network import build


def model(options, *, latent_channels, text_widths, pooled_widths):
    torch.linspace(0, 0.1, 4)[-1].item()
    return build(options, latent_channels=latent_channels, text_widths=text_widths, pooled_widths=pooled_widths)


@hookimpl
def dit_run_components():
    return [Component(Kind.MODEL, "needs_values", Dit, model)]
"""


def test_a_model_that_cannot_be_built_without_values_is_not_refused(prepared: Prepare) -> None:
    Path("needs_values.py").write_text(NEEDS_VALUES)
    with pytest.raises(InputError, match="tiny/clip is not available"):
        prepared(VAE, TEXT, MODEL, "model.type=needs_values", "plugins=[needs_values.py]")


def test_the_cost_of_a_model_needs_no_weights(prepared: Prepare) -> None:
    config = resolve(Path("config.yaml"), [VAE, TEXT, MODEL]).config
    assert cost_of(config).latents == (4, 4, 4)


def test_weights_are_located_at_their_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = hub_repository(tmp_path, "kl")
    folder.mkdir(parents=True)
    local = tmp_path / "local"
    local.mkdir()
    with deferred_weights() as deferred:
        files = Pretrained("tiny/kl", "vae.pretrained_model_name").weight_files(DIFFUSERS)
        with pytest.raises(InputError, match="has no weights in its top folder"):
            Pretrained(str(local), "vae.pretrained_model_name").weight_files(DIFFUSERS)
    assert deferred == [files]
    index = {"weight_map": {"a": "one.safetensors"}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "one.safetensors").write_bytes(b"")
    assert (files.shards, files.file.name) == (
        {"a": folder / "one.safetensors"},
        f"{DIFFUSERS[0]}.safetensors.index.json",
    )
