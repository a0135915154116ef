"""Latents of several sizes: a space for each, shared by all runs that train on that size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import tiny_autoencoder_kl
from PIL import Image

from dit_run import load_config
from dit_run.assembly.parts import build_encoders
from dit_run.assembly.prepare import build_data, fit_data
from dit_run.cache.lookup import GroupedLatentCache
from dit_run.cache.open_cache import open_cache
from dit_run.data.images import read_image
from dit_run.model.codec import encode_latents
from dit_run.reporting import Reporter
from dit_run.settings import Config

CONFIG = """
data: {type: custom, dataset_path: PATH/images, image_size: 16, buckets: [16x16, 16x32], train_split: 1.0}
model: {hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 2}
vae: {type: autoencoder_kl, pretrained_model_name: PATH/vae}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2}
cache: {dir: PATH/cache}
training: {mixed_precision: "no", batch_size: 2}
"""


class Counting(Reporter):
    """Counts the images that are encoded."""

    encoded = 0

    def phase(self, name: str, done: int, total: int) -> None:
        self.encoded += name == "encoding images" and done > 0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "images").mkdir()
    for number, size in enumerate([(16, 16), (64, 32), (40, 20), (20, 20)]):
        values = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "images" / f"{number}.txt").write_text(f"image {number}")
    tiny_autoencoder_kl(tmp_path / "vae")
    (tmp_path / "config.yaml").write_text(CONFIG.replace("PATH", str(tmp_path)))
    return load_config(tmp_path / "config.yaml")


def changed(tmp_path: Path, sizes: str) -> Config:
    return load_config(tmp_path / "config.yaml", f"data.buckets={sizes}")


def opened(config: Config) -> tuple[GroupedLatentCache, int, dict[str, torch.Tensor]]:
    """Return the cache, how many images were encoded, and the mean and deviation of each sample by key."""
    encoders = build_encoders(config, torch.device("cpu"))
    samples = fit_data(config, build_data(config), unit=encoders.vae.factor * 2).train
    counting = Counting()
    cache = open_cache(config, [samples], texts=encoders.texts, vae=encoders.vae, dtype=None, reporter=counting).latents
    assert cache is not None
    visits = dataclasses.replace(samples, batch_size=None).visits(range(len(samples)))
    found = {visit.key: cache.gather([cache.find(visit)])[0] for visit in visits}
    for visit in visits:
        assert isinstance(visit.image, Path)
        image = torch.from_numpy(read_image(visit.image, visit.size))[None]
        mean, _ = encode_latents(encoders.vae, image)
        assert torch.equal(found[visit.key][0], mean[0])
    return cache, counting.encoded, found  # type: ignore[return-value]


def test_each_size_has_its_latents(config: Config) -> None:
    cache, encoded, found = opened(config)
    assert encoded == 4
    assert sorted(cache.by_group) == [((16, 16), 0), ((16, 32), 0)]
    assert sorted(tuple(values.shape[2:]) for values in found.values()) == [(4, 4), (4, 4), (4, 8), (4, 8)]
    assert cache.indices.tolist() == [0, 1, 2, 3] and not cache.bad


def test_a_batch_of_two_sizes_is_refused(config: Config) -> None:
    cache, _, _ = opened(config)
    encoders = build_encoders(config, torch.device("cpu"))
    samples = fit_data(config, build_data(config), unit=encoders.vae.factor * 2).train
    visits = dataclasses.replace(samples, batch_size=None).visits(range(4))
    with pytest.raises(ValueError, match="too many values"):
        cache.gather([cache.find(visit) for visit in visits])


def test_another_list_of_sizes_encodes_only_what_moved(tmp_path: Path, config: Config) -> None:
    opened(config)
    assert opened(config)[1] == 0
    assert opened(changed(tmp_path, "[16x16,32x64]"))[1] == 2


def test_a_square_bucket_shares_the_latents_of_a_run_with_squares(tmp_path: Path, config: Config) -> None:
    opened(config)
    assert opened(changed(tmp_path, "null"))[1] == 2
