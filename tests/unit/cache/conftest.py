"""Small frozen encoders and a dataset on disk, for tests of the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from builders import tiny_autoencoder_kl, tiny_clip
from small_cache import Folder, paint

from dit_run.protocols import VAE, TextEncoder
from dit_run_plugins.text_encoders.clip import Clip
from dit_run_plugins.text_encoders.clip.text_encoder import build as build_clip
from dit_run_plugins.vaes.autoencoder_kl import AutoencoderKl
from dit_run_plugins.vaes.autoencoder_kl.vae import build as build_vae


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        paint(tmp_path / "pictures" / f"{index}.png", index)
    return Folder(tmp_path / "pictures")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny_autoencoder_kl(folder / "vae", scaling_factor=0.3)
    tiny_clip(folder / "clip")
    return folder


@pytest.fixture
def vae(weights: Path) -> VAE:
    return build_vae(AutoencoderKl(pretrained_model_name=str(weights / "vae")))


@pytest.fixture
def text(weights: Path) -> TextEncoder:
    return build_clip(Clip(pretrained_model_name=str(weights / "clip")))


@pytest.fixture(params=[None, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype | None:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def config(tmp_path: Path, weights: Path) -> Path:
    """A config of four pictures of a folder, with small frozen encoders."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(4):
        paint(pictures / f"{index}.png", index)
        (pictures / f"{index}.txt").write_text(f"picture {index}")
    content = {
        "data": {"type": "custom", "dataset_path": str(pictures), "image_size": 16, "train_split": 1.0},
        "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0},
        "vae": {"pretrained_model_name": str(weights / "vae")},
        "text_encoder": {"pretrained_model_name": str(weights / "clip")},
        "training": {
            "output_dir": str(tmp_path / "run"),
            "batch_size": 2,
            "max_steps": 3,
            "num_workers": 0,
            "device": "cpu",
        },
        "lr_scheduler": {"warmup_steps": 0},
        "sampling": {"every_n_steps": None},
        "validation": {"every_n_steps": None},
        "trackers": [],
        "cache": {"dir": str(tmp_path / "cache")},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
