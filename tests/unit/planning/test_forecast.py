"""Forecasts: needs computed from measurements, and splits of an effective batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dit_run.planning.batch_choice import best_split, splits
from dit_run.planning.forecast import Shortage, forecast, shortages
from dit_run.planning.measurements import CacheCost, Measurements, SamplingCost, interpolate
from dit_run.planning.workload import Workload

MEASURED = Measurements(
    parameters=100,
    peaks=[(1, 1100.0), (2, 1200.0), (4, 1400.0)],
    passes=[(1, 1.5), (2, 2.0), (4, 3.0)],
    update=0.5,
    data=0.25,
    forward=0.1,
    sampling=SamplingCost(peaks=[(2, 1300.0), (4, 1500.0)], evaluation=0.01, fixed=0.3),
    encoding=900.0,
    checkpoint=70,
    saving=0.75,
    cache=CacheCost(size=5000, seconds=40.0),
)
WORKLOAD = Workload(
    batch_size=8, accumulation=2, steps=10, workers=0, kept_checkpoints=3, checkpoints=5,
    validations=2, validation_passes=64, previews=3, preview_images=4, scorings=1, scored_images=200,
    sampling_steps=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value"), [(1, 1100), (2, 1200), (3, 1300), (4, 1400), (8, 1800), (0, 1000)]
)  # fmt: skip
def test_values_lie_on_the_broken_line_and_beyond(at: int, value: float) -> None:
    assert interpolate(MEASURED.peaks, at) == value


def test_one_point_is_a_level_line() -> None:
    assert interpolate([(4, 7.0)], 9) == 7.0


def test_memory_is_that_of_the_greatest_part() -> None:
    needs = forecast(MEASURED, WORKLOAD)
    assert needs.memory == {"training": 1800, "previews": 1500, "metrics": 6100, "filling the cache": 900}
    assert needs.peak == 6100


def test_time_is_that_of_all_repetitions() -> None:
    needs = forecast(MEASURED, WORKLOAD)
    assert needs.step == 2 * 5.0 + 0.5 + 16 * 0.25
    assert needs.seconds == pytest.approx(
        {
            "filling the cache": 40.0,
            "training": 10 * 14.5,
            "saving": 5 * 0.75,
            "validation": 2 * 64 * 0.1,
            "previews": 3 * 4 * (0.3 + 20 * 0.01),
            "metrics": 200 * 0.5,
        }
    )
    assert needs.total == pytest.approx(sum(needs.seconds.values()))


def test_workers_load_during_the_step() -> None:
    assert forecast(MEASURED, replace(WORKLOAD, workers=2)).step == 10.5
    slow = replace(MEASURED, data=4.0)
    assert forecast(slow, replace(WORKLOAD, workers=2)).step == 16 * 4.0 / 2


@pytest.mark.parametrize(("written", "kept", "size"), [(5, 3, 4 * 70), (2, 3, 2 * 70), (5, None, 5 * 70)])
def test_there_is_one_checkpoint_more_while_an_old_one_goes(written: int, kept: int | None, size: int) -> None:
    workload = replace(WORKLOAD, checkpoints=written, kept_checkpoints=kept)
    assert forecast(MEASURED, workload).disk == {"cache": 5000, "checkpoint": 70, "checkpoints": size}


def test_what_is_never_done_needs_nothing() -> None:
    workload = replace(WORKLOAD, previews=0, scorings=0, validations=0, checkpoints=0)
    needs = forecast(replace(MEASURED, cache=CacheCost(), encoding=0.0), workload)
    assert set(needs.memory) == set(needs.seconds) == {"training"}


def test_splits_make_up_the_same_batch() -> None:
    made = splits(MEASURED, WORKLOAD)
    assert [(split.batch_size, split.accumulation) for split in made] == [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]
    assert [split.peak for split in made] == [2600, 1800, 1400, 1200, 1100]
    assert [split.seconds for split in made] == [9 + 4.5, 10 + 4.5, 12 + 4.5, 16 + 4.5, 24 + 4.5]


@pytest.mark.parametrize(
    ("memory", "size"), [(10_000, 16), (2600, 8), (1800 / 0.95, 8), (1800, 4), (1200, 1), (1100, None)]
)
def test_the_quickest_split_that_fits_is_proposed(memory: float, size: int | None) -> None:
    proposal = best_split(splits(MEASURED, WORKLOAD), WORKLOAD, memory)
    assert (proposal and proposal.batch_size) == size


def test_a_split_that_is_hardly_quicker_is_not_proposed() -> None:
    quick = replace(MEASURED, passes=[(1, 1.0), (2, 1.99)])
    proposal = best_split(splits(quick, WORKLOAD), WORKLOAD, 1e9)
    assert proposal is not None
    assert proposal.batch_size == WORKLOAD.batch_size


def test_what_does_not_fit_apart_from_the_steps_is_reported_with_what_would() -> None:
    assert not shortages(MEASURED, WORKLOAD, 6100 / 0.95, tried_in=1e9)
    (metrics,) = shortages(MEASURED, WORKLOAD, 6099 / 0.95, tried_in=1e9)
    assert metrics == Shortage("metrics", 6100, count=50, most=49)
    previews, metrics = shortages(MEASURED, WORKLOAD, 1499 / 0.95, tried_in=1e9)
    assert (previews.name, previews.count, previews.most, metrics.most) == ("previews", 4, 3, 3)
    assert [(shortage.name, shortage.most) for shortage in shortages(MEASURED, WORKLOAD, 800, tried_in=1e9)] == [
        ("previews", 0), ("metrics", 0), ("filling the cache", 0),
    ]  # fmt: skip


def test_as_many_images_as_ran_out_of_memory_do_not_fit_into_as_much() -> None:
    failing = replace(MEASURED, sampling=replace(MEASURED.sampling, failed=4))
    assert [(shortage.name, shortage.most) for shortage in shortages(failing, WORKLOAD, 1e6, tried_in=1e6)] == [
        ("previews", 3), ("metrics", 3),
    ]  # fmt: skip
    assert not shortages(failing, WORKLOAD, 1e6 + 1, tried_in=1e6)


def test_a_tree_of_gradients_takes_powers_of_two_and_memory_for_its_levels() -> None:
    workload = replace(WORKLOAD, batch_size=3, accumulation=8, powers_of_two=True)
    made = splits(replace(MEASURED, gradients=7.0), workload)
    assert [(split.batch_size, split.accumulation) for split in made] == [(24, 1), (12, 2), (6, 4), (3, 8)]
    assert [split.peak for split in made] == [3400, 2200, 1600 + 7, 1300 + 2 * 7]


def test_images_are_sampled_as_many_at_a_time_as_the_run_has() -> None:
    assert WORKLOAD.images_at_a_time == {"previews": 4, "metrics": 50}
    assert replace(WORKLOAD, preview_images=40, scorings=0).images_at_a_time == {"previews": 16}
    assert replace(WORKLOAD, previews=0, scored_images=7).images_at_a_time == {"metrics": 7}
