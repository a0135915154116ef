"""Scalars of a visit: from the data and from the image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dit_run.data.samples import Samples
from dit_run.data.scalars import Scalars, of_crop, of_whole_image
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon


def wide(folder: Path, count: int = 4, **scalars: float) -> list[Sample]:
    for number in range(count):
        Image.new("RGB", (32, 16)).save(folder / f"{number}.png")
    return [
        Sample(
            f"{number}", ("x",), folder / f"{number}.png", (), {name: value + number for name, value in scalars.items()}
        )
        for number in range(count)
    ]


def test_a_crop_is_in_pixels_of_the_resized_image() -> None:
    crop = {"original_height": 100.0, "original_width": 300.0, "crop_top": 0.0, "crop_left": 51.0}
    assert of_crop(100, 300, (50, 50), 0.5, flip=False) == {**crop, "crop_left": 50.0}
    assert of_crop(100, 300, (50, 50), 0.0, flip=False)["crop_left"] == 0
    assert of_crop(100, 300, (50, 50), 0.0, flip=True)["crop_left"] == 100
    assert of_crop(300, 100, (50, 50), 0.999, flip=False)["crop_top"] == 100
    assert of_whole_image((64, 96)) == {
        "original_height": 64.0, "original_width": 96.0, "crop_top": 0.0, "crop_left": 0.0
    }  # fmt: skip


def test_visits_have_the_values_in_the_order_of_the_names(tmp_path: Path) -> None:
    dataset = wide(tmp_path, score=10.0)
    indices = np.arange(4)
    scalars = Scalars.of(("original_width", "score", "crop_left"), dataset, indices)
    samples = Samples(dataset, indices, DatasetCommon(image_size=16), 0, scalars=scalars)
    visits = samples.visits(range(4))
    assert [visit.scalars for visit in visits] == [(32.0, 10.0 + visit.index, 8.0) for visit in visits]
    assert scalars.means(dataset, indices) == {"score": 11.5}


def test_a_random_crop_changes_the_scalars_with_it(tmp_path: Path) -> None:
    dataset, indices = wide(tmp_path), np.arange(4)
    common = DatasetCommon(image_size=16, crop="random", random_flip=True)
    samples = Samples(dataset, indices, common, 0, scalars=Scalars.of(("crop_left",), dataset, indices))
    lefts = {visit.scalars[0] for visit in samples.visits(range(200))}
    assert lefts == {float(left) for left in range(17)}


def test_without_names_nothing_is_measured(tmp_path: Path) -> None:
    dataset = [Sample("gone", ("x",), tmp_path / "gone.png", (), {"score": 1.0})]
    samples = Samples(dataset, np.arange(1), DatasetCommon(), 0)
    assert samples.visits([0])[0].scalars == ()
    assert Scalars.of(("score",), dataset, np.arange(1)).dimensions is None


def test_an_image_that_cannot_be_read_counts_as_one_of_its_training_size(tmp_path: Path) -> None:
    dataset = [Sample("gone", ("x",), tmp_path / "gone.png")]
    scalars = Scalars.of(("original_width",), dataset, np.arange(1))
    samples = Samples(dataset, np.arange(1), DatasetCommon(image_size=16), 0, scalars=scalars)
    assert samples.visits([0])[0].scalars == (16.0,)


def test_numbers_of_a_table_count_more_than_those_of_the_image(tmp_path: Path) -> None:
    dataset, indices = wide(tmp_path, original_width=1000.0), np.arange(4)
    scalars = Scalars.of(("original_height", "original_width"), dataset, indices)
    samples = Samples(dataset, indices, DatasetCommon(image_size=16), 0, scalars=scalars)
    assert {visit.scalars for visit in samples.visits(range(4))} == {(16.0, 1000.0 + number) for number in range(4)}


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e39])
def test_a_scalar_that_float32_cannot_hold_is_refused_with_its_sample(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match=r"the scalar 'score' of the sample 0 is .*finite numbers in float32"):
        Scalars.of(("score",), wide(tmp_path, score=value), np.arange(4))


def test_missing_scalars_are_refused_with_a_sample(tmp_path: Path) -> None:
    dataset = [*wide(tmp_path, score=1.0), Sample("bare", ("x",), tmp_path / "0.png")]
    with pytest.raises(InputError, match="1 of 5 samples do not have it, such as bare"):
        Scalars.of(("score",), dataset, np.arange(5))
    with pytest.raises(InputError, match="no sample of the data has it"):
        Scalars.of(("beauty",), dataset, np.arange(5))
