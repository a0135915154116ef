"""Runs in the latent spaces of autoencoders: train, cache, continue and sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl, tiny_dc_ae, tiny_flux2_vae, tiny_vq
from runs import AllStages, Command, Repository, Run, Train


def of_pipeline(folder: Path, **config: object) -> Path:
    """An AutoencoderKL where a pipeline has it, with the given values of its family's config."""
    return tiny_autoencoder_kl(folder / "vae", **config)  # type: ignore[arg-type]


SIXTEEN = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
MODELS: dict[str, tuple[str, Callable[[Path], Path], int, int]] = {
    "sd": ("autoencoder_kl", partial(of_pipeline, scaling_factor=0.18215), 4, 16),
    "sdxl": ("autoencoder_kl", partial(of_pipeline, scaling_factor=0.13025, force_upcast=True), 4, 16),
    "sd3": ("autoencoder_kl", partial(of_pipeline, scaling_factor=1.5305, shift_factor=0.0609, **SIXTEEN), 16, 16),
    "flux": ("autoencoder_kl", partial(of_pipeline, scaling_factor=0.3611, shift_factor=0.1159, **SIXTEEN), 16, 16),
    "flux2": ("autoencoder_kl", tiny_flux2_vae, 32, 16),
    "dc": ("autoencoder_dc", tiny_dc_ae, 32, 64),
    "vq": ("diffusers_autoencoder", tiny_vq, 3, 16),
}
"""For each family: the type, what makes a tiny one, the latent channels and the size of images."""


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_a_family_trains_caches_continues_and_samples(
    family: str, repository: Repository, all_stages: AllStages
) -> None:
    kind, make, channels, size = MODELS[family]
    make(repository(family))
    all_stages(
        f"vae={{type: {kind}, pretrained_model_name: tiny/{family}}}",
        f"data.image_size={size}",
        f"model={{in_channels: {channels}, out_channels: {channels}, patch_size: 1}}",
        cached="latents",
    )


@pytest.mark.slow
def test_latents_normalised_by_the_data(train: Train, command: Command, config: Path, tmp_path: Path) -> None:
    vae = tiny_autoencoder_kl(tmp_path / "vae", scaling_factor=0.1, shift_factor=2.0)
    given = (
        f"vae={{type: autoencoder_kl, pretrained_model_name: {vae}, normalize: data}}",
        "model={in_channels: 4, out_channels: 4, patch_size: 1}",
        "cache.dir=cache",
    )
    whole = train(*given, output="whole")
    known = {name: value for name, value in whole.tensors().items() if name.startswith("latent_normalization.")}
    assert sorted(known) == ["latent_normalization.deviation", "latent_normalization.mean"]
    assert all(bool((whole.tensors("ema")[name] == value).all()) for name, value in known.items())
    assert float(known["latent_normalization.deviation"].max()) < 0.3
    assert train(*given, "cache.mode=off", output="uncached").learnt() == whole.learnt()
    half = train(*given, "training.max_steps=3", output="half")
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == whole.learnt()
    assert command("sample", "whole", "a red circle", "--output", "new.png").status == 0
    tuned = train(*given, "data.seed=1", "training.max_steps=1", "training.init_from=whole", output="tuned")
    assert all(bool((tuned.tensors()[name] == value).all()) for name, value in known.items())
    result = command("check", config, *given)
    assert "; normalised by mean -0." in result.words and "are far from mean 0" not in result.words
    told = command("check", config, given[0].replace(", normalize: data", ""), *given[1:]).words
    assert "are far from mean 0 and standard deviation 1" in told and "set vae.normalize: data, or check" in told
    changed = command(config, *given, "vae.normalize=null", "training.max_steps=9", "training.output_dir=whole")
    assert changed.status == 2 and "vae.normalize: 'data' -> None" in changed.words
