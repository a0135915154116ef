"""Fitting: the size of each sample, and the images that the config leaves out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dit_run.data.fitting import Fit, fit, fit_held_out, is_fitted
from dit_run.data.samples import Samples, choose
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run.registry.kind_options import DatasetCommon

SHAPES = [(40, 40), (40, 40), (20, 40), (40, 20), (9, 30), (80, 80)]
"""Heights and widths."""


class Folder:
    """Images of all shapes."""

    def __init__(self, root: Path) -> None:
        self.files = [root / f"{number}.png" for number in range(len(SHAPES))]
        for file, (height, width) in zip(self.files, SHAPES, strict=True):
            Image.new("L", (width, height), 9).save(file)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.files[index].name, ("a",), self.files[index])


def fitted(root: Path, **options: Any) -> tuple[Samples, Fit]:
    common = DatasetCommon(image_size=16, num_samples=None, train_split=1.0, **options)
    return fit(choose(Folder(root), common, seed=1)[0], unit=4, batch_size=2)


def sizes(samples: Samples) -> dict[str, tuple[int, int]]:
    places = range(len(samples))
    return {samples.dataset[int(samples.indices[place])].key: samples.size_of(place) for place in places}


def test_every_sample_gets_its_size(tmp_path: Path) -> None:
    samples, done = fitted(tmp_path, buckets=("16x16", "12x24", "24x12"))
    assert sizes(samples) == {
        "0.png": (16, 16),
        "1.png": (16, 16),
        "2.png": (12, 24),
        "3.png": (24, 12),
        "4.png": (12, 24),
        "5.png": (16, 16),
    }
    assert done.counts == {(16, 16): 3, (12, 24): 2, (24, 12): 1}
    assert done.cropped == pytest.approx((1 - 2 / (30 / 9)) / 6)
    assert not done.left_out


def test_positions_of_a_micro_batch_share_a_size(tmp_path: Path) -> None:
    samples, _ = fitted(tmp_path, buckets=("16x16", "12x24", "24x12"))
    for start in range(0, 60, 2):
        first, second = samples.visits([start, start + 1])
        assert first.size == second.size
        assert samples.pixels(first).shape == (*first.size, 3)


@pytest.mark.parametrize(
    ("options", "reason", "left_out"),
    [
        ({"min_side": 20}, "a side has fewer than 20 pixels (data.min_side)", {"4.png"}),
        ({"max_crop": 0.5}, "more than 50% would be cropped (data.max_crop)", {"4.png"}),
        ({"max_crop": 0.4}, "more than 40% would be cropped (data.max_crop)", {"2.png", "3.png", "4.png"}),
        ({"upscale": False}, "smaller than their training size (data.upscale: false)", {"4.png"}),
    ],
)
def test_squares_can_leave_images_out_too(
    tmp_path: Path, options: dict[str, Any], reason: str, left_out: set[str]
) -> None:
    samples, done = fitted(tmp_path, **options)
    (row,) = done.left_out
    assert (row.reason, row.count, row.example in left_out) == (reason, len(left_out), True)
    assert set(sizes(samples)) == {f"{number}.png" for number in range(6)} - left_out
    assert set(sizes(samples).values()) == {(16, 16)}
    counted = "1 sample is" if len(left_out) == 1 else f"{len(left_out)} samples are"
    assert f"{counted} left out: {reason}, such as" in done.lines()[-1]


def test_leaving_all_out_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all 6 samples are left out: a side has fewer than 90 pixels"):
        fitted(tmp_path, min_side=90)


def test_samples_that_are_held_out_may_all_be_left_out(tmp_path: Path) -> None:
    def held_out(least: int) -> tuple[Samples | None, Fit]:
        common = DatasetCommon(image_size=16, num_samples=None, train_split=1.0, min_side=least)
        return fit_held_out(choose(Folder(tmp_path), common, seed=1)[0], unit=4)

    (some, few_out), (none, all_out) = held_out(50), held_out(90)
    assert some is not None and sizes(some) == {"5.png": (16, 16)}
    assert none is None
    assert [row.count for row in few_out.left_out] == [5]
    assert [row.count for row in few_out.with_left_out(few_out).with_left_out(all_out).left_out] == [10, 6]


def test_an_unreadable_image_is_an_error_or_keeps_its_place(tmp_path: Path) -> None:
    samples = choose(Folder(tmp_path), DatasetCommon(image_size=16, buckets="auto", train_split=1.0), seed=1)[0]
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"2\.png.*\n.*data\.on_bad_sample: skip"):
        fit(samples, unit=4, batch_size=2)
    skipping = dataclasses.replace(samples, common=dataclasses.replace(samples.common, on_bad_sample="skip"))
    assert len(fit(skipping, unit=4, batch_size=2)[0]) == 6


def test_only_configs_that_ask_read_the_sizes_of_images() -> None:
    assert not is_fitted(DatasetCommon())
    for options in ({"buckets": "auto"}, {"max_crop": 0.9}, {"upscale": False}, {"min_side": 1}):
        assert is_fitted(DatasetCommon(**options))


def test_samples_of_the_largest_size_fit_into_one_batch(tmp_path: Path) -> None:
    samples, _ = fitted(tmp_path, buckets=("16x16", "12x24", "24x12"))
    largest = samples.of_largest_size()
    assert {visit.size for visit in largest.visits(range(20))} == {largest.size_of(0)}
    assert largest.size_of(0) in {(12, 24), (24, 12)}


def test_groups_visit_each_sample_once(tmp_path: Path) -> None:
    samples, _ = fitted(tmp_path, buckets=("16x16", "12x24", "24x12"))
    alone = dataclasses.replace(samples, batch_size=None)
    groups = list(alone.once(6, 2))
    assert sorted(position for group in groups for position in group) == list(range(6))
    assert all(len({visit.size for visit in alone.visits(group)}) == 1 and len(group) <= 2 for group in groups)
    assert list(alone.squares().once(6, 4)) == [[0, 1, 2, 3], [4, 5]]
