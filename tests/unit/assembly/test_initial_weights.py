"""Initial weights from elsewhere: every kind of source, what fits of it, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest
import torch
from diffusers import PixArtTransformer2DModel
from safetensors.torch import save_file
from tiny_parts import CPU, assembled

from dit_run.assembly.parts import build_denoiser
from dit_run.model.denoiser import Denoiser
from dit_run.options import Formerly
from dit_run.problems import InputError
from dit_run_plugins.models.dit import Dit

Begin = Callable[..., tuple[Denoiser, list[str]]]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    def begin(source: Path, *overrides: str) -> tuple[Denoiser, list[str]]:
        parts, said = assembled(tmp_path, f"training.init_from={source}", *overrides), list[str]()
        return build_denoiser(parts.config, parts.encoders, CPU, begin=said.append), said

    return begin


@pytest.fixture
def first(tmp_path: Path) -> Denoiser:
    """Weights that are all drawn, in ``first.safetensors``."""
    denoiser = assembled(tmp_path).denoiser
    save_file({name: value.contiguous() for name, value in denoiser.tensors().items()}, tmp_path / "first.safetensors")
    return denoiser


def test_a_file_of_the_same_model(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    denoiser, said = begin(tmp_path / "first.safetensors", "data.image_size=32")
    assert all(torch.equal(value, first.tensors()[name]) for name, value in denoiser.tensors().items())
    assert said == [
        f"training.init_from {tmp_path / 'first.safetensors'}: 44 tensors taken, 0 resized, 0 left out; 0 of the model "
        "begin with initial weights"
    ]


def test_the_normalisation_of_latents_is_taken_along(begin: Begin, tmp_path: Path) -> None:
    normalised = assembled(tmp_path, "vae.normalize=data").denoiser
    assert normalised.normalization is not None
    normalised.normalization.set([0.5, 0.25, 0.0], [2.0, 1.0, 0.5])
    save_file({name: value.contiguous() for name, value in normalised.tensors().items()}, tmp_path / "a.safetensors")
    denoiser, said = begin(tmp_path / "a.safetensors", "vae.normalize=data")
    assert denoiser.normalization is not None and denoiser.normalization.deviation.tolist() == [2.0, 1.0, 0.5]
    assert "46 tensors taken" in said[0]
    _, said = begin(tmp_path / "a.safetensors")
    assert said[-1].strip().startswith("these weights were trained on normalised latents: vae.normalize: data")


def test_a_torch_checkpoint_of_tensors(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    torch.save({"state_dict": {f"net.{name}": value for name, value in first.tensors().items()}}, tmp_path / "a.bin")
    denoiser, _ = begin(tmp_path / "a.bin", 'training.init_rename={"net.*": "*"}')
    assert torch.equal(denoiser.tensors()["input.weight"], first.tensors()["input.weight"])
    with pytest.raises(InputError, match=r"training.init_rename: \{'net\.\*': '\*'\} most names would fit"):
        begin(tmp_path / "a.bin")


def test_more_layers_and_fewer(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    deeper, said = begin(tmp_path / "first.safetensors", "model.num_layers=2")
    assert torch.equal(deeper.tensors()["blocks.0.table"], first.tensors()["blocks.0.table"])
    assert said[0].endswith("44 tensors taken, 0 resized, 0 left out; 13 of the model begin with initial weights")
    assert said[1].startswith("  not in the source: blocks.*.table, blocks.*.self_attention.qkv.weight, ")
    _, said = begin(tmp_path / "first.safetensors", "model.pooled_text=false")
    assert said[1:] == [
        "  left out because the model has no such tensor: condition.pooled.bias, condition.pooled.weight, "
        "condition.pooled_norm.weight"
    ]


def test_a_file_without_a_config_is_not_resized_by_guessing(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    _, said = begin(tmp_path / "first.safetensors", "model.patch_size=2")
    assert said[1] == (
        "  left out because of another shape: input.weight [16, 48] -> [16, 12], output.weight [48, 16] -> [12, 16], "
        "output.bias [48] -> [12]"
    )


def test_an_exported_folder_knows_its_patches(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "first.safetensors").rename(tmp_path / "exported" / "model.safetensors")
    (tmp_path / "exported" / "config.yaml").write_text("model: {type: dit, in_channels: 3, patch_size: 4}\n")
    denoiser, said = begin(tmp_path / "exported", "model.patch_size=8")
    assert said[1:] == [
        "  resized: input.weight [16, 48] -> [16, 192], output.weight [48, 16] -> [192, 16], output.bias [48] -> [192]"
    ]
    before, after = first.tensors()["input.weight"], denoiser.tensors()["input.weight"]
    torch.testing.assert_close(  # of a patch that is one colour
        after.view(16, 3, 64).sum(-1), before.view(16, 3, 16).sum(-1), rtol=1e-4, atol=1e-4
    )


@dataclass(frozen=True, kw_only=True)
class RenamedDit(Dit):
    """A dit whose option had another name."""

    patch_size: Annotated[int, Formerly("patch")] = 4
    """Side of a patch."""


def test_a_config_of_an_earlier_release_has_old_names(first: Denoiser, tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "first.safetensors").rename(tmp_path / "exported" / "model.safetensors")
    (tmp_path / "exported" / "config.yaml").write_text("model: {type: dit, in_channels: 3, patch: 4}\n")
    parts = assembled(tmp_path, f"training.init_from={tmp_path / 'exported'}", "model.patch_size=8")
    model, said = parts.config.model, list[str]()
    renamed = replace(
        model, component=replace(model.component, options=RenamedDit), options=RenamedDit(**vars(model.options))
    )
    config = replace(parts.config, sections={**parts.config.sections, "model": renamed})
    build_denoiser(config, parts.encoders, CPU, begin=said.append)
    assert said[1].startswith("  resized: input.weight [16, 48] -> [16, 192]")


def test_a_folder_of_diffusers_with_other_patches(begin: Begin, tmp_path: Path) -> None:
    net = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=3, out_channels=3, num_layers=1, sample_size=4,
        patch_size=4, cross_attention_dim=16, caption_channels=8, use_additional_conditions=False,
    )  # fmt: skip
    net.save_pretrained(tmp_path / "pixart" / "transformer")
    words = (
        "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, in_channels: 3, sample_size: 4}",
        "model.patch_size=2",
        'training.init_rename={"*": "transformer.*"}',
    )
    denoiser, said = begin(tmp_path / "pixart", *words)
    found = denoiser.tensors()["transformer.transformer_blocks.0.attn1.to_q.weight"]
    assert torch.equal(found, net.transformer_blocks[0].attn1.to_q.weight)
    assert "  resized: transformer.pos_embed.proj.weight [16, 3, 4, 4] -> [16, 3, 2, 2]" in said


def test_hardly_any_weights_fit(begin: Begin, first: Denoiser, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        begin(tmp_path / "first.safetensors", "model.hidden_size=32")
    assert "do not fit the model of this config: 15 tensors taken, 0 resized, 29 left out" in str(caught.value)
    assert "condition.second.weight [16, 16] -> [32, 32]" in str(caught.value)
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="0 tensors taken, 0 resized, 1 left out"):
        begin(tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["nowhere", "empty", "text.safetensors"])
def test_what_holds_no_weights(begin: Begin, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match=r"training\.init_from"):
        begin(tmp_path / name)
