from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_taesd
from diffusers import AutoencoderTiny as Reference
from PIL import Image

from dit_run.problems import InputError
from dit_run_plugins.vaes.autoencoder_tiny import AutoencoderTiny, taesd_layout
from dit_run_plugins.vaes.autoencoder_tiny.vae import TinyVae, build


def opened(path: Path, **options: object) -> TinyVae:
    return build(AutoencoderTiny(pretrained_model_name=str(path), **options))  # type: ignore[arg-type]


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def original_pair(folder: Path, latent_channels: int = 4) -> Path:
    """The original pair of files for the very weights of a diffusers folder."""
    model = Reference.from_pretrained(tiny_taesd(folder / "diffusers", latent_channels=latent_channels))
    for half, shift in (("encoder", 0), ("decoder", 1)):
        state = getattr(model, half).layers.state_dict()
        moved = {f"{int(name.split('.')[0]) + shift}.{name.split('.', 1)[1]}": value for name, value in state.items()}
        torch.save(moved, folder / f"taesd_{half}.pth")
    return folder


@pytest.mark.slow
def test_a_diffusers_folder_gives_what_diffusers_gives(tmp_path: Path) -> None:
    vae, reference = opened(tiny_taesd(tmp_path)), Reference.from_pretrained(tmp_path)
    mean, spread = vae.encode(images())
    with torch.no_grad():
        torch.testing.assert_close(mean, reference.encode(images()).latents)
        torch.testing.assert_close(vae.decode(mean), reference.decode(mean).sample.clamp(-1, 1))
    assert spread is None


@pytest.mark.slow
def test_the_original_pair_gives_the_same_as_diffusers(tmp_path: Path) -> None:
    vae, reference = opened(original_pair(tmp_path, 16)), opened(tmp_path / "diffusers")
    mean, spread = vae.encode(images())
    assert torch.equal(mean, reference.encode(images())[0]) and spread is None
    assert torch.equal(vae.decode(mean), reference.decode(mean))


def test_channels_and_factor_are_known_before_the_halves_are_read(tmp_path: Path) -> None:
    vae = opened(original_pair(tmp_path, 16))
    assert (vae.latent_channels, vae.factor, vae.cacheable) == (16, 8, True)
    assert not vae.encoder.loaded and not vae.decoder.loaded


def test_blocks_with_a_pool_add_it_before_they_convolve() -> None:
    block = taesd_layout.TaesdBlock(pooled=True)
    hidden = torch.randn(1, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    assert block.pool is not None
    pooled = hidden + block.pool(hidden)
    assert torch.equal(block(hidden), torch.relu(block.conv(pooled) + pooled))


def test_slices_pass_one_image_at_a_time(tmp_path: Path) -> None:
    sizes: list[int] = []
    vae = opened(tiny_taesd(tmp_path), use_slicing=True)
    vae.decoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    vae.decode(torch.zeros(3, 4, 2, 2))
    assert sizes == [1, 1, 1]


def test_the_fingerprint_follows_the_encoders_weights(tmp_path: Path) -> None:
    first, second = tiny_taesd(tmp_path / "a"), tiny_taesd(tmp_path / "b", seed=1)
    assert opened(first).fingerprint() != opened(second).fingerprint()
    assert opened(first).fingerprint() == opened(first).fingerprint()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="describes AutoencoderKL, not AutoencoderTiny"):
        opened(tiny_autoencoder_kl(tmp_path))


def test_a_file_that_is_no_taesd_is_refused(tmp_path: Path) -> None:
    for half in ("encoder", "decoder"):
        torch.save({"weight": torch.zeros(1)}, tmp_path / f"x_{half}.pth")
    with pytest.raises(
        InputError, match=r"^vae\.pretrained_model_name: .*x_encoder\.pth: no weights of a TAESD encoder"
    ):
        opened(tmp_path)


@pytest.mark.slow
def test_taef2_reconstructs_real_photographs(shared_data: Path) -> None:
    vae = opened(shared_data / "weights" / "taef2")
    assert (vae.latent_channels, vae.factor) == (32, 8)
    scores = []
    for path in sorted((shared_data / "coco_subset" / "val2017").glob("*.jpg"))[:4]:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        image = image.resize((256, 256), Image.Resampling.BICUBIC, box=(0, 0, side, side))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents, _ = vae.encode(pixels)
        assert latents.shape == (1, 32, 32, 32) and 0.7 < latents.std() < 1.1
        error = ((vae.decode(latents) - pixels) / 2).square().mean()
        scores.append(-10 * torch.log10(error).item())
    assert min(scores) > 27
