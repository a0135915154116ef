"""Any autoencoder of diffusers, by the class in its config, and DC-AE."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_clip, tiny_dc_ae, tiny_taesd, tiny_vq

from dit_run.problems import InputError
from dit_run_plugins.vaes import autoencoder_dc, diffusers_autoencoder
from dit_run_plugins.vaes.autoencoder_dc.vae import build as build_dc
from dit_run_plugins.vaes.diffusers_autoencoder.vae import DiffusersVae, build

MODELS: dict[str, tuple[Callable[[Path], Path], float, int, int]] = {
    "AutoencoderDC": (tiny_dc_ae, 0.41407, 32, 32),
    "VQModel": (tiny_vq, 0.5, 3, 2),
    "AutoencoderKL": (tiny_autoencoder_kl, 0.5, 4, 4),
    "AutoencoderTiny": (tiny_taesd, 1.0, 4, 8),
}
"""For each class: what makes a tiny one, its scale, channels and factor."""


def opened(path: Path, **options: Any) -> DiffusersVae:
    return build(diffusers_autoencoder.DiffusersAutoencoder(pretrained_model_name=str(path), **options))


def images(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def reference(name: str, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and the images decoded from them, as the class itself gives them."""
    model = getattr(diffusers, name).from_pretrained(folder)
    output = model.encode(images())
    latents = next(getattr(output, key) for key in ("latent_dist", "latents", "latent") if hasattr(output, key))
    latents = getattr(latents, "mean", latents) if not isinstance(latents, torch.Tensor) else latents
    return latents, model.decode(latents).sample.clamp(-1, 1)


@pytest.mark.parametrize("name", MODELS)
def test_latents_and_images_are_those_of_the_class(name: str, tmp_path: Path) -> None:
    make, scale, channels, factor = MODELS[name]
    vae = opened(make(tmp_path))
    latents, decoded = reference(name, tmp_path)
    mean, deviation = vae.encode(images())
    assert (vae.latent_channels, vae.factor, deviation is not None) == (channels, factor, name == "AutoencoderKL")
    torch.testing.assert_close(mean, latents * scale, rtol=0, atol=1e-5)
    torch.testing.assert_close(vae.decode(mean), decoded, rtol=1e-4, atol=1e-4)


def test_each_half_is_read_when_it_is_used(tmp_path: Path) -> None:
    vae = opened(tiny_dc_ae(tmp_path))
    assert not vae.encoder.loaded and not vae.decoder.loaded
    vae.decode(torch.zeros(1, 32, 2, 2))
    names = {name.split(".")[3] for name, _ in vae.named_parameters()}
    assert names == {"decoder"} and not vae.encoder.loaded


@pytest.mark.parametrize("make", [tiny_dc_ae, tiny_vq])
def test_slices_pass_one_image_at_a_time(make: Callable[[Path], Path], tmp_path: Path) -> None:
    sizes: list[int] = []
    whole, sliced = opened(make(tmp_path)), opened(tmp_path, use_slicing=True)
    sliced.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    torch.testing.assert_close(sliced.encode(images(3))[0], whole.encode(images(3))[0])
    assert sizes == [1, 1, 1]


def test_dc_ae_is_that_of_the_class(tmp_path: Path) -> None:
    options = autoencoder_dc.AutoencoderDc(pretrained_model_name=str(tiny_dc_ae(tmp_path)))
    assert torch.equal(build_dc(options).encode(images())[0], opened(tmp_path).encode(images())[0])


def test_dc_ae_refuses_another_class(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"describes AutoencoderKL, not AutoencoderDC"):
        build_dc(autoencoder_dc.AutoencoderDc(pretrained_model_name=str(tiny_autoencoder_kl(tmp_path))))


def test_a_folder_without_an_autoencoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names the class None, which is no autoencoder of diffusers"):
        opened(tiny_clip(tmp_path) and _with_vae_weights(tmp_path))


def _with_vae_weights(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "diffusion_pytorch_model.safetensors")
    return folder


def test_a_class_for_videos_is_refused(tmp_path: Path) -> None:
    config = {"_class_name": "AutoencoderKLWan", "base_dim": 8, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1}
    config |= {"temperal_downsample": [False], "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"AutoencoderKLWan does not encode images \[n, 3, height, width\]"):
        opened(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    tiny_vq(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "block_out_channels": [8, 16]}))
    with pytest.raises(InputError, match=r"the weights do not fit this type of VAE"):
        opened(tmp_path).encode(images())
