"""Runs in the latent spaces of autoencoders: train, cache, continue and sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl, tiny_dc_ae, tiny_flux2_vae, tiny_vq
from runs import Command, Run, Train

LONG = ("training.max_steps=20", "training.save_steps=10", "validation.every_n_steps=null")


def sixteen_channels(folder: Path) -> Path:
    convolutions = {"use_quant_conv": False, "use_post_quant_conv": False}
    return tiny_autoencoder_kl(folder, latent_channels=16, shift_factor=0.1159, **convolutions)


MODELS: dict[str, tuple[str, Callable[[Path], Path], int, int]] = {
    "16 channels": ("autoencoder_kl", sixteen_channels, 16, 16),
    "flux2": ("autoencoder_kl", tiny_flux2_vae, 32, 16),
    "dc": ("autoencoder_dc", tiny_dc_ae, 32, 64),
    "vq": ("diffusers_autoencoder", tiny_vq, 3, 16),
}
"""For each family: the type, what makes a tiny one, the latent channels and the size of images."""


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_a_family_trains_caches_continues_and_samples(
    family: str, train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    kind, make, channels, size = MODELS[family]
    given = (
        *LONG,
        f"vae={{type: {kind}, pretrained_model_name: {make(tmp_path / 'vae')}}}",
        f"data.image_size={size}",
        f"model={{in_channels: {channels}, out_channels: {channels}, patch_size: 1}}",
        "cache.dir=cache",
    )
    whole = train(*given, output="whole")
    assert list((tmp_path / "cache" / "latents").glob("*/*.safetensors"))
    uncached = train(*given, "cache.mode=off", output="uncached")
    assert uncached.learnt() == whole.learnt()
    half = train(*given, "training.max_steps=10", output="half")
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == whole.learnt()
    assert command("sample", "whole", "a red circle", "--output", "new.png").status == 0
    assert (tmp_path / "new.png").stat().st_size > 0
