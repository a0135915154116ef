"""frechet_distance, and what metrics on features have in common: sources, names, preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import tiny_clip_pair, tiny_dinov2
from PIL import Image

from dit_run import load_config
from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run.settings import Config
from dit_run_plugins.metrics import distances
from dit_run_plugins.metrics.frechet_distance import FrechetDistance, build
from dit_run_plugins.metrics.preprocessing import Preprocessing
from dit_run_plugins.metrics.standard_errors import measure
from dit_run_plugins.metrics.vision_models import VisionModel

CPU = torch.device("cpu")


def frechet_distance(one: Any, other: Any) -> float:
    everything = [np.ones((1, len(features)), dtype=np.int64) for features in (one, other)]
    return float(distances.frechet_distance(one, other, *everything)[0])


def pictures(count: int, *, seed: int = 0, side: int = 32) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text("data: {type: shapes}\nmodel: {in_channels: 3, out_channels: 3}\nvae: {type: identity}\n")
    return load_config(path, "training.device=cpu")


def features(count: int, width: int, *, seed: int, scale: float = 1.0, shift: float = 0.0) -> Any:
    """Rows whose sample mean is exactly ``shift`` and whose sample covariance is scale² times the identity."""
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    centred = drawn - drawn.mean(axis=0)
    whitened = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False))).T
    return scale * whitened + shift


def test_of_gaussians_with_known_moments() -> None:
    one, other = features(40, 3, seed=0, scale=2.0), features(50, 3, seed=1, scale=0.5, shift=1.0)
    assert frechet_distance(one, other) == pytest.approx(3 * 1.0 + 3 * (2.0 - 0.5) ** 2)


def test_of_covariances_that_do_not_commute() -> None:
    """tr((Σ₁Σ₂)^½) from the eigenvalues of the product."""
    generator = np.random.default_rng(3)
    one, other = (generator.normal(size=(30, 4)) @ generator.normal(size=(4, 4)) for _ in range(2))
    covariances = [np.cov(each, rowvar=False) for each in (one, other)]
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * root
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_of_a_set_with_itself_is_zero_also_for_fewer_pictures_than_features() -> None:
    for shape in ((5, 64), (64, 5)):
        drawn = np.random.default_rng(0).normal(size=shape)
        assert frechet_distance(drawn, drawn) == pytest.approx(0, abs=1e-9)


def test_a_draw_is_the_distance_of_the_images_in_it() -> None:
    one, other = np.random.default_rng(4).normal(size=(2, 5, 3))
    drawn = distances.frechet_distance(one, other, np.array([[2, 0, 1, 2, 0]]), np.array([[1, 1, 1, 1, 1]]))
    assert drawn == pytest.approx(frechet_distance(one[[0, 0, 2, 3, 3]], other))


def test_its_standard_error_is_the_spread_over_new_images() -> None:
    """The bootstrap within one pair of sets agrees with the spread over many pairs of sets, to a quarter."""
    generator = np.random.default_rng(5)
    pairs = [(generator.normal(size=(60, 3)), generator.normal(size=(60, 3)) + 1) for _ in range(80)]
    spread = np.std([frechet_distance(*pair) for pair in pairs])
    found = np.mean([measure(distances.frechet_distance, *pair)[1] for pair in pairs[:20]])
    assert found == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("shape", [(1, 4), (4,)])
def test_fewer_than_two_pictures_have_no_distance(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two images in each set"):
        frechet_distance(np.zeros(shape), np.zeros((4, 4)))


@pytest.mark.parametrize(("make", "width"), [(tiny_clip_pair, 8), (tiny_dinov2, 16)])
def test_features_come_from_the_network_that_is_named(make: Any, width: int, tmp_path: Path) -> None:
    one, other = (
        VisionModel(Pretrained(str(make(tmp_path / str(seed), seed=seed)), "key"), CPU).features(pictures(40))
        for seed in range(2)
    )
    assert one.shape == other.shape == (40, width)
    assert not np.allclose(one, other)


def test_features_of_a_picture_do_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    vision = VisionModel(Pretrained(str(tiny_dinov2(tmp_path / "net")), "key"), CPU)
    shown = pictures(35)
    np.testing.assert_allclose(vision.features(shown)[34:], vision.features(shown[34:]), rtol=1e-4, atol=1e-5)


def test_loading_a_network_draws_nothing_from_torchs_generator(tmp_path: Path) -> None:
    vision = VisionModel(Pretrained(str(tiny_dinov2(tmp_path / "net")), "key"), CPU)
    before = torch.get_rng_state()
    vision.features(pictures(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_score_is_named_after_its_source_and_count(tmp_path: Path, config: Config) -> None:
    held_out = [(picture, "a caption") for picture in pictures(6, seed=1)]
    folder = str(tiny_dinov2(tmp_path / "dinov2-tiny"))
    metric = build(
        FrechetDistance(pretrained_model_name=folder, count=6), config=config, references=lambda n: held_out[:n]
    )
    assert metric.count == 6
    assert metric.prompts(6) is None
    assert set(metric.score(pictures(6), [""] * 6)) == {"dinov2-tiny_n6", "dinov2-tiny_n6/standard_error"}
    assert min(metric.score(pictures(4), [""] * 4)) == "dinov2-tiny_n4_of_6"


def test_held_out_pictures_are_nearer_to_themselves_than_noise(tmp_path: Path, config: Config) -> None:
    held_out = [(Image.new("RGB", (32, 32), (8 * index, 40, 0)), "") for index in range(12)]
    options = FrechetDistance(pretrained_model_name=str(tiny_clip_pair(tmp_path / "clip")), count=12)
    metric = build(options, config=config, references=lambda n: held_out[:n])
    same = metric.score([picture for picture, _ in held_out], [""] * 12)["clip_n12"]
    noise = metric.score(pictures(12), [""] * 12)["clip_n12"]
    assert same == pytest.approx(0, abs=1e-6)
    assert noise > 10 * same + 1e-3


def test_missing_weights_are_found_before_anything_is_drawn(tmp_path: Path, config: Config) -> None:
    options = FrechetDistance(pretrained_model_name=str(tmp_path / "nothing/here"))
    with pytest.raises(InputError, match=r"metrics \(frechet_distance\)\.pretrained_model_name"):
        build(options, config=config, references=lambda n: [])


def test_pictures_are_resized_cut_and_normalised(tmp_path: Path) -> None:
    values = {"size": {"shortest_edge": 8}, "crop_size": 4, "do_center_crop": True, "resample": 0}
    write(tmp_path, **values, image_mean=[0.5, 0.0, 0.0], image_std=[0.5, 1.0, 2.0])
    prepare = Preprocessing.of(Pretrained(str(tmp_path), "key"))
    picture = Image.new("RGB", (16, 16), (255, 255, 0))
    picture.paste((0, 0, 255), (6, 6, 8, 8))
    pixels = prepare(picture)
    assert pixels.shape == (3, 4, 4)
    assert pixels[:, 0, 0].tolist() == [1.0, 1.0, 0.0]
    assert pixels[:, 1, 1].tolist() == [-1.0, 0.0, 0.5]


def test_the_preprocessing_of_a_processor_config_is_read(tmp_path: Path) -> None:
    values = {"size": {"shortest_edge": 8}, "crop_size": {"height": 4, "width": 4}, "do_center_crop": True}
    values |= {"resample": 0, "image_mean": [0.5, 0.0, 0.0], "image_std": [0.5, 1.0, 2.0]}
    whole = {"image_processor": values, "processor_class": "CLIPProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(whole))
    old = tmp_path / "old"
    old.mkdir()
    write(old, **values)
    assert Preprocessing.of(Pretrained(str(tmp_path), "key")) == Preprocessing.of(Pretrained(str(old), "key"))


def test_a_processor_config_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": None}))
    with pytest.raises(InputError, match=r"has a processor_config\.json without usable values"):
        Preprocessing.of(Pretrained(str(tmp_path), "key"))


def test_preprocessing_without_its_numbers_is_refused(tmp_path: Path) -> None:
    write(tmp_path, size=8)
    with pytest.raises(InputError, match=r"preprocessor_config\.json without usable values"):
        Preprocessing.of(Pretrained(str(tmp_path), "key"))


def write(folder: Path, **values: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
