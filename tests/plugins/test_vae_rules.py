"""What the VAEs' rules know before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_taesd
from safetensors.torch import save_file

from dit_run import load_config
from dit_run.problems import ConfigError


def problems(tmp_path: Path, vae: str, size: int = 256, **model: int) -> list[str]:
    """Codes and keys of all problems."""
    options = "\n".join(f"  {key}: {value}" for key, value in model.items()) or "  {}"
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{image_size: {size}}}\nmodel:\n{options}\nvae: {vae}\n")
    try:
        load_config(path)
    except ConfigError as error:
        return [f"{problem.code} {'.'.join(map(str, problem.path))}" for problem in error.problems]
    return []


def test_pixel_space_has_three_channels(tmp_path: Path) -> None:
    assert problems(tmp_path, "{type: identity}", in_channels=4, out_channels=4) == [
        "channels-do-not-fit model.in_channels",
        "channels-do-not-fit model.out_channels",
    ]
    assert problems(tmp_path, "{type: identity}", in_channels=3, out_channels=3) == []


def test_channels_that_are_not_written_follow_the_vae(tmp_path: Path) -> None:
    tiny_taesd(tmp_path / "vae", latent_channels=16)
    tiny = f"vae={{type: autoencoder_tiny, pretrained_model_name: {tmp_path / 'vae'}}}"
    (tmp_path / "config.yaml").write_text("data: {image_size: 64}\n")
    for argument, channels in (("vae.type=identity", 3), (tiny, 16)):
        config = load_config(tmp_path / "config.yaml", argument)
        assert (config.model.options.in_channels, config.model.options.out_channels) == (channels, channels)
        assert config.notices == ()


def test_whole_patches_fill_pixel_space(tmp_path: Path) -> None:
    found = problems(tmp_path, "{type: identity}", 40, in_channels=3, out_channels=3, patch_size=16)
    assert found == ["image-size-does-not-fit data.image_size"]


@pytest.mark.parametrize("name", ["runwayml/stable-diffusion-v1-5", "stabilityai/sd-vae-ft-mse-original"])
def test_well_known_names_are_known_without_a_network(tmp_path: Path, name: str) -> None:
    vae = f"{{pretrained_model_name: {name}}}"
    assert problems(tmp_path, vae) == []
    assert problems(tmp_path, vae, in_channels=16, out_channels=16) == [
        "channels-do-not-fit model.in_channels",
        "channels-do-not-fit model.out_channels",
    ]
    assert problems(tmp_path, vae, 264) == ["image-size-does-not-fit data.image_size"]


def test_a_single_file_has_stable_diffusions_shape(tmp_path: Path) -> None:
    save_file({"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}, tmp_path / "vae.safetensors")
    vae = f"{{pretrained_model_name: {tmp_path / 'vae.safetensors'}}}"
    assert problems(tmp_path, vae) == []
    assert len(problems(tmp_path, vae, in_channels=8, out_channels=8)) == 2


def test_a_local_folder_tells_its_channels_and_factor(tmp_path: Path) -> None:
    tiny_autoencoder_kl(tmp_path / "pipeline" / "vae", latent_channels=8)
    vae = f"{{pretrained_model_name: {tmp_path / 'pipeline'}}}"
    eight = {"in_channels": 8, "out_channels": 8}
    assert problems(tmp_path, vae, 24, **eight) == []
    assert problems(tmp_path, vae, 24, patch_size=4, **eight) == ["image-size-does-not-fit data.image_size"]
    assert len(problems(tmp_path, vae, 24, in_channels=4, out_channels=4)) == 2


@pytest.mark.parametrize("kind", ["autoencoder_dc", "autoencoder_tiny"])
def test_a_folder_of_another_class_is_refused_before_its_channels(tmp_path: Path, kind: str) -> None:
    tiny_autoencoder_kl(tmp_path / "kl", latent_channels=8)
    found = problems(tmp_path, f"{{type: {kind}, pretrained_model_name: {tmp_path / 'kl'}}}", in_channels=4)
    assert found == ["folder-does-not-fit vae.pretrained_model_name"]


def test_a_tiny_autoencoder_tells_too(tmp_path: Path) -> None:
    tiny_taesd(tmp_path / "vae", latent_channels=16)
    vae = f"{{type: autoencoder_tiny, pretrained_model_name: {tmp_path / 'vae'}}}"
    assert problems(tmp_path, vae, 24, in_channels=16, out_channels=16) == ["image-size-does-not-fit data.image_size"]


def test_what_only_a_hub_knows_is_left_for_later(tmp_path: Path) -> None:
    assert problems(tmp_path, "{pretrained_model_name: someone/vae}", in_channels=16, out_channels=16) == []


def test_a_broken_local_config_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("[1, 2")
    assert problems(tmp_path, f"{{pretrained_model_name: {tmp_path / 'vae'}}}") == []


def test_the_rules_import_nothing_heavy(tmp_path: Path) -> None:
    problems(tmp_path, "{}")
    code = (
        "import sys, dit_run\n"
        f"dit_run.load_config({str(tmp_path / 'config.yaml')!r})\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'diffusers', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
