"""Buckets: the preset sizes, the size of an image, and how much of it is cropped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_run.data.aspect_buckets import Buckets, preset_sizes
from dit_run.registry.kind_options import DatasetCommon

SIDES = st.integers(1, 5000)


def test_preset_sizes() -> None:
    upright = [(336, 192), (304, 208), (288, 224), (272, 240)]
    assert preset_sizes(256, 16) == (*upright, (256, 256), *((width, height) for height, width in reversed(upright)))
    assert preset_sizes(64, 4) == ((80, 48), (72, 56), (64, 64), (56, 72), (48, 80))
    assert preset_sizes(1024, 16)[0] == (1344, 768)


@given(side=st.integers(1, 300).map(lambda number: number * 8), unit=st.sampled_from([1, 4, 8, 16, 32]))
def test_preset_sizes_have_the_area_and_fit_the_model(side: int, unit: int) -> None:
    if side % unit:
        return
    sizes = preset_sizes(side, unit)
    assert len(set(sizes)) == len(sizes)
    assert all(height * width <= side * side for height, width in sizes)
    assert all(height % unit == width % unit == 0 for height, width in sizes)
    assert all(max(size) <= 2 * min(size) for size in sizes)
    assert sorted(sizes) == sorted((width, height) for height, width in sizes)


def test_a_config_chooses_its_buckets() -> None:
    assert Buckets.of(DatasetCommon(image_size=64)).sizes == ((64, 64),)
    assert Buckets.of(DatasetCommon(image_size=64, buckets="auto"), 4).sizes == preset_sizes(64, 4)
    assert Buckets.of(DatasetCommon(buckets="16x24")).sizes == ((16, 24),)
    assert Buckets.of(DatasetCommon(buckets=("16x24", "24x16", "16x24"))).sizes == ((24, 16), (16, 24))


def test_an_image_takes_the_nearest_aspect_ratio() -> None:
    buckets = Buckets(((20, 10), (14, 14), (10, 20)))
    assert buckets.nearest([100, 99, 100, 30], [40, 100, 300, 30]).tolist() == [0, 1, 2, 1]


def test_of_one_aspect_ratio_an_image_takes_the_largest_size_that_it_covers() -> None:
    buckets = Buckets(((64, 64), (32, 32), (128, 128)))
    assert buckets.nearest([500, 100, 40, 8], [500, 100, 40, 8]).tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize(("image", "share"), [((10, 20), 0.0), ((20, 20), 0.5), ((10, 40), 0.5), ((30, 40), 1 / 3)])
def test_the_cropped_share_is_that_of_the_area(image: tuple[int, int], share: float) -> None:
    assert Buckets(((10, 20),)).cropped(*([side] for side in image), [0])[0] == pytest.approx(share)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=20))
def test_no_other_bucket_crops_less(images: list[tuple[int, int]]) -> None:
    buckets = Buckets(preset_sizes(256, 16))
    heights, widths = np.array(images).T
    cropped = buckets.cropped(heights, widths, buckets.nearest(heights, widths))
    for other in range(len(buckets.sizes)):
        assert (cropped <= buckets.cropped(heights, widths, np.full(len(images), other)) + 1e-9).all()


def test_an_image_that_does_not_cover_its_size_is_enlarged() -> None:
    assert Buckets(((10, 20),)).enlarged([10, 9, 10], [20, 40, 19], [0, 0, 0]).tolist() == [False, True, True]
