"""Runs whose parts fit no pipeline of diffusers: each with its reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_clip, tiny_flux2_vae
from diffusers import DiffusionPipeline
from image_transformers import CONFIGS
from runs import CONFIG
from text_models import tiny_text_model

import dit_run
from dit_run.export.export_options import ExportOptions
from dit_run.export.folder import ExportSource, TrainedWeights, write_export
from dit_run.export.frozen_files import FrozenParts
from dit_run.export.stock_folder import StockExport
from dit_run.model.denoiser import model_keywords
from dit_run.problems import InputError, NotInDiffusers
from dit_run.registry.factories import make

T5 = "{type: transformers, pretrained_model_name: t5, max_length: 20"
GIVEN = (
    f"text_encoder={T5}}}",
    "vae={type: autoencoder_kl, pretrained_model_name: kl}",
    "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 1, sample_size: 4}",
    "scheduler={type: ddpm}",
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pretrained parts and a config."""
    folder = tmp_path_factory.mktemp("parts")
    for family in ("t5", "umt5", "bert", "gemma"):
        tiny_text_model(folder / family, family)
    tiny_clip(folder / "clip")
    tiny_autoencoder_kl(folder / "kl")
    tiny_autoencoder_kl(folder / "shifted", shift_factor=0.1)
    tiny_flux2_vae(folder / "flux2")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


Export = Callable[..., StockExport]


@pytest.fixture
def export(parts: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Make the export of a config with new weights."""
    monkeypatch.chdir(parts)

    return lambda *words: StockExport(*given(*words))


def given(*words: str) -> tuple[dit_run.Config, dict[str, torch.Tensor], FrozenParts]:
    """Return a config, new weights of its model, and its frozen parts."""
    config = dit_run.load_config("tiny.yaml", *GIVEN, *words)
    frozen = FrozenParts.of(config)
    keywords = model_keywords([text.part for text in frozen.texts], frozen.vae.part)
    return config, make(config.model.component, config.model.options, **keywords).state_dict(), frozen


def of_class(name: str, **more: Any) -> str:
    values = {"type": "diffusers_transformer", "class_name": name, "config": CONFIGS[name], **more}
    return f"model={json.dumps(values)}"


FLOW, AURA = "scheduler={type: flow_matching}", "AuraFlowTransformer2DModel"
REASONS = {
    "no pipeline of diffusers has the model dit": [
        "model={type: dit, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 1}",
        "model.in_channels=4",
        "model.out_channels=4",
    ],
    "no pipeline of diffusers has the text_encoder clip": ["text_encoder={type: clip, pretrained_model_name: clip}"],
    "no pipeline of diffusers has the vae identity": [
        "vae={type: identity}",
        "model.in_channels=3",
        "model.out_channels=3",
    ],
    "the pipelines of diffusers do not take these text encoders together": [f"text_encoder=[{T5}}}, {T5}}}]"],
    "the text_encoder is a BertModel, and PixArtSigmaPipeline takes a T5EncoderModel": [
        "text_encoder={type: transformers, pretrained_model_name: bert}"
    ],
    "text_encoder.layers are not only the last one": [f"text_encoder={T5}, layers: [1]}}"],
    "text_encoder.template cuts states": [f"text_encoder={T5}, template: 'a {{caption}}'}}"],
    "PixArtSigmaPipeline does not apply the shift_factor of the VAE": ["vae.pretrained_model_name=shifted"],
    "AutoencoderKLFlux2 normalises latents by running statistics": [
        "vae.pretrained_model_name=flux2",
        "model.in_channels=32",
        "model.out_channels=32",
    ],
    "the scheduler is a FlowMatchEulerDiscreteScheduler, and PixArtSigmaPipeline takes a DPMSolverMultistep": [FLOW],
    "no scheduler of diffusers has the steps of sampler heun, only those of ddim": ["sampling.sampler=heun"],
    "scheduler.num_train_timesteps is 500, and the pipelines of diffusers take 1000": [
        "scheduler.num_train_timesteps=500"
    ],
    "the pipelines of diffusers have no vae.normalize and no cache.max_tokens": [
        "vae.normalize=data",
        "cache.max_tokens=5",
    ],
    "the pipelines of diffusers have no sampling.guidance_scale like that of the run": ["sampling.guidance_scale=0"],
    "the pipelines of diffusers have no sampling.guidance_rescale and no sampling.guidance_interval like that": [
        "sampling.guidance_rescale=0.5",
        "sampling.guidance_interval=[0.1, 1]",
    ],
    "the pipelines of diffusers have no vae.normalize and no cache.max_tokens and no cache.text_dtype: fp8": [
        "vae.normalize=data",
        "cache.max_tokens=4",
        "cache.text_dtype=fp8",
    ],
    "PixArtAlphaPipeline has micro-conditions only with model.sample_size 128, not 4": [
        "model.hidden_size=24",
        "model.micro_conditions=true",
    ],
    "StableDiffusion3Pipeline takes CLIP's states": [of_class("SD3Transformer2DModel"), FLOW],
    "Lumina2Pipeline keeps the states": [of_class("Lumina2Transformer2DModel"), FLOW],
    "ZImagePipeline keeps the states": [of_class("ZImageTransformer2DModel"), FLOW],
    "text_encoder.max_length is 20 and the model reads 256 tokens (model.text_length), but AuraFlowPipeline": [
        of_class(AURA),
        FLOW,
    ],
    "no scheduler of diffusers has the steps of sampler heun, only those of euler": [
        of_class(AURA, text_length=20),
        FLOW,
        "sampling.sampler=heun",
    ],
    "scheduler.prediction_type is sample, and the pipelines of diffusers take a velocity": [
        of_class(AURA, text_length=20),
        "scheduler={type: flow_matching, prediction_type: sample}",
    ],
    "the scheduler depends on the size of an image (scheduler.shift)": [
        of_class(AURA, text_length=20, config={**CONFIGS[AURA], "pos_embed_max_size": 1024}),
        "scheduler={type: flow_matching, shift: null}",
        "data.image_size=96",
        "data.buckets=[96x96, 64x128]",
    ],
}


@pytest.mark.parametrize("reason", REASONS)
def test_parts_that_do_not_fit_are_named(reason: str, export: Export) -> None:
    with pytest.raises(NotInDiffusers) as caught:
        export(*REASONS[reason])
    assert reason in str(caught.value)


@pytest.mark.parametrize(("key", "name"), [("text_encoder", "t5"), ("vae", "kl")])
def test_broken_weights_are_an_error_and_no_reason_for_code(
    key: str, name: str, parts: Path, export: Export, tmp_path: Path
) -> None:
    broken = tmp_path / name
    shutil.copytree(parts / name, broken)
    config, tensors, _ = given(f"{key}.pretrained_model_name={broken}")
    (weights,) = broken.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match=str(weights)):
        write_export(tmp_path / "out", TrainedWeights(tensors, 1, 1, "ema"), config, ExportSource(), ExportOptions())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "rounding"),
    [
        (["training.mixed_precision=no", "cache.text_dtype=fp32"], ""),
        (["training.mixed_precision=bf16"], "training.mixed_precision bf16"),
        (
            ["cache.text_dtype=bf16", f"text_encoder={T5}, dtype: fp16}}"],
            "cache.text_dtype bf16, a text encoder in float16",
        ),
    ],
)
def test_lower_precision_is_reported_and_everything_loads_in_float32(
    words: list[str], rounding: str, export: Export, tmp_path: Path
) -> None:
    assert export(*words).write(tmp_path / "out").rounding == rounding
    pipeline = DiffusionPipeline.from_pretrained(str(tmp_path / "out"))
    assert {part.dtype for part in (pipeline.transformer, pipeline.text_encoder, pipeline.vae)} == {torch.float32}


def test_a_subfolder_is_not_looked_for_in_the_copy(export: Export, parts: Path, tmp_path: Path) -> None:
    (parts / "pipeline").mkdir()
    (parts / "pipeline" / "text_encoder_2").symlink_to(parts / "t5")
    (parts / "pipeline" / "tokenizer_2").symlink_to(parts / "t5")
    use = export(f"text_encoder={T5.replace('t5', 'pipeline')}, subfolder: text_encoder_2}}").write(tmp_path / "out")
    assert use.places["text_encoder"] == [{"subfolder": None, "pretrained_model_name": "text_encoder"}]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model_index.json",
        "scheduler",
        "text_encoder",
        "tokenizer",
        "transformer",
        "vae",
    }
