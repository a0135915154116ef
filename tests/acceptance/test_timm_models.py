"""Models of timm, with random weights, as frozen networks of objectives and metrics: features, runs and scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from runs import Command, Repository, Run, stopping
from safetensors.torch import save_file
from torch import Tensor

from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run_plugins.metrics.vision_models import VisionModel
from dit_run_plugins.objectives.image_features import ImageFeatures

try:
    import timm
except (ImportError, OSError, RuntimeError) as error:
    pytest.skip(f"timm does not import: {error}", allow_module_level=True)

NARROW = {"embed_dim": 16, "depth": 1, "num_heads": 2}
TOKENS = {
    "of a class and four registers": ("vit_small_patch14_reg4_dinov2", {**NARROW, "img_size": 28}),
    "of a class, rotary": ("vit_small_patch16_dinov3", NARROW),
    "of patches alone": ("vit_base_patch16_siglip_224", NARROW),
}
MAPS = {
    "residual": ("test_resnet", {}),
    "of windows": ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)}),
    "of channels last": ("test_convnext", {}),
}


def tiny_timm(folder: Path, architecture: str, settings: dict[str, Any], *, seed: int = 0) -> Any:
    """Save a model with random weights, as timm does, in ``folder``, and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(architecture, **settings)
        for parameter in network.parameters():
            if parameter.abs().max() < 0.01:  # such a part would not show in the features
                torch.nn.init.normal_(parameter, std=0.2)
    timm.models.save_for_hf(network, folder, model_args=settings, safe_serialization=True)
    return network.eval()


def images(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def normal(pixels: Tensor, network: Any) -> Tensor:
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pixels / 2 + 0.5 - mean) / std


def features_of(name: object, factor: int = 4) -> ImageFeatures:
    return ImageFeatures(Pretrained(str(name), "objective"), factor)


@pytest.mark.parametrize("kind", TOKENS)
@torch.no_grad()
def test_features_are_the_tokens_of_the_patches(kind: str, tmp_path: Path) -> None:
    architecture, settings = TOKENS[kind]
    saved = tiny_timm(tmp_path, architecture, settings)
    network = timm.create_model(architecture, dynamic_img_size=True, **settings).eval()
    network.load_state_dict(saved.state_dict())
    patch = network.patch_embed.patch_size[0]
    resized = F.interpolate(images(2, 8, 12), (2 * patch, 3 * patch), mode="bicubic", antialias=True)
    tokens = network.forward_features(normal(resized, network))[:, network.num_prefix_tokens :]
    encoder = features_of(tmp_path)
    assert encoder.latent_channels == 16
    found, _ = encoder.encode(images(2, 8, 12))
    torch.testing.assert_close(found, tokens.transpose(1, 2).reshape(2, 16, 2, 3))


@pytest.mark.parametrize("kind", MAPS)
@torch.no_grad()
def test_the_last_map_is_averaged_to_the_positions(kind: str, tmp_path: Path) -> None:
    architecture, settings = MAPS[kind]
    saved = tiny_timm(tmp_path, architecture, settings)
    if kind == "of windows":
        network = timm.create_model(architecture, dynamic_img_size=True, **settings).eval()
        network.load_state_dict(saved.state_dict())
        states = network.forward_features(normal(images(2, 64, 128), network)).permute(0, 3, 1, 2)
    else:
        states = saved.forward_features(normal(images(2, 64, 128), saved))
    found, _ = features_of(tmp_path, factor=32).encode(images(2, 64, 128))
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(states, (2, 4)))


def test_a_name_on_the_hub_gives_the_features_of_its_files(repository: Repository, tmp_path: Path) -> None:
    settings = TOKENS["of a class and four registers"]
    tiny_timm(tmp_path / "local", *settings)
    tiny_timm(repository("vit_small_patch14_reg4_dinov2.lvd142m", "timm"), *settings)
    with torch.no_grad():
        by_name, by_folder = (
            features_of(name).encode(images(1, 8, 8))[0]
            for name in ("timm/vit_small_patch14_reg4_dinov2.lvd142m", tmp_path / "local")
        )
    assert torch.equal(by_name, by_folder)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architecture": "mixer_s32_224"}, "Input height"),
        ({"architecture": "test_resnet", "model_args": {"features_only": True}}, "has no states at positions"),
    ],
)
def test_a_model_without_states_at_the_positions_of_any_image_is_refused(
    config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {}}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=rf"is not a vision model that takes images of any size: .*{reason}"):
        features_of(tmp_path)


def scores_of(folder: Path) -> VisionModel:
    return VisionModel(Pretrained(str(folder), "key"), torch.device("cpu"))


@pytest.mark.parametrize("use", [features_of, scores_of])
def test_an_architecture_that_timm_lacks_is_named(use: Callable[[Path], object], tmp_path: Path) -> None:
    tiny_timm(tmp_path, "test_resnet", {})
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"test_resnet"', '"resnet_of_tomorrow"'))
    reason = (
        rf"is not a model that timm {timm.__version__} builds: RuntimeError\('Unknown model \(resnet_of_tomorrow\)'\)"
    )
    with pytest.raises(InputError, match=reason):
        use(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    network = tiny_timm(tmp_path, "test_resnet", {})
    tensors = network.state_dict()
    shown = [Image.new("RGB", (8, 8))]
    save_file({**tensors, "conv1.0.weight": torch.zeros(5)}, tmp_path / "model.safetensors")
    with pytest.raises(
        InputError, match=r"those of its config\.json: .*: conv1\.0\.weight is \[5\], expected \[16, 3, 3, 3\]$"
    ):
        scores_of(tmp_path).features(shown)
    save_file({name: value for name, value in tensors.items() if name != "bn1.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"does not have all weights of a vision model: bn1\.bias missing from"):
        scores_of(tmp_path).features(shown)


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_resnet"])
@torch.no_grad()
def test_features_of_metrics_are_those_of_timm(architecture: str, tmp_path: Path) -> None:
    network = tiny_timm(tmp_path, architecture, {})
    data = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**data, is_training=False)
    generator = np.random.default_rng(0)
    shown = [Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)) for side in (64, 200)]
    network.reset_classifier(0)
    expected = network(torch.stack([transform(image) for image in shown]))
    found = scores_of(tmp_path).features(shown)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


ALIGNED = "objective=[{type: denoising}, {type: repa, projector_width: 8, pretrained_model_name: net}]"
PERCEIVED = "objective=[{type: denoising}, {type: perceptual, pretrained_model_name: net}]"


@pytest.mark.slow
def test_cached_features_are_live_ones_and_a_stopped_run_continues(command: Command, config: Path) -> None:
    tiny_timm(Path("net"), *TOKENS["of a class and four registers"])
    words = (config, ALIGNED, "data.random_flip=true", "cache.dir=cache", "training.max_steps=4")
    assert command(*words, "cache.mode=off", "training.output_dir=live").status == 0
    assert command(*words, *stopping(2)).status == 143
    assert len(sorted(Path("cache/features").glob("*/*.safetensors"))) == 2  # of images, and of mirrored ones
    assert command(*words).status == 0
    live, run = Run(Path("live")), Run(Path("run"))
    assert run.learnt() == live.learnt()
    assert run.values("objective/repa") == live.values("objective/repa")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["of a class and four registers", "residual"])
def test_a_model_of_pixels_lowers_the_perceptual_loss(kind: str, command: Command, config: Path) -> None:
    tiny_timm(Path("net"), *(TOKENS | MAPS)[kind])
    words = ("scheduler.prediction_type=sample", "training.max_steps=20")
    assert command(config, PERCEIVED, *words).status == 0
    losses = Run(Path("run")).values("objective/perceptual")
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.slow
def test_a_run_is_scored_in_features_of_timm(command: Command, config: Path) -> None:
    tiny_timm(Path("net"), "test_vit", {})
    metric = "metrics=[{type: kernel_distance, pretrained_model_name: net, count: 4}]"
    assert command(config, metric, "training.max_steps=2").status == 0
    (score,) = Run(Path("run")).values("kernel_distance/net_n4")
    assert np.isfinite(score)
