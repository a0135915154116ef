"""Learning-rate schedules are pure functions of the step, in closed form."""

from __future__ import annotations

from math import cos, pi
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_run.problems import Problem
from dit_run.protocols import Adjustment, Facts, RuleContext
from dit_run_plugins.lr_schedulers import constant, cosine, linear, warmup_stable_decay
from dit_run_plugins.lr_schedulers.decay import ends_below_peak
from dit_run_plugins.lr_schedulers.warmup import warmup_fits

PEAK = 4e-3


def values(factor: Any, count: int) -> list[float]:
    return [factor(step) for step in range(count)]


def test_cosine_warms_up_from_zero_and_falls_by_half_a_cosine() -> None:
    factor = cosine.build(cosine.Cosine(warmup_steps=4), total_steps=12, learning_rate=PEAK)
    expected = [0, 0.25, 0.5, 0.75, *[(1 + cos(pi * i / 8)) / 2 for i in range(8)]]
    assert values(factor, 12) == pytest.approx(expected)
    assert factor(4) == 1
    assert factor(8) == pytest.approx(0.5)
    assert factor(12) == pytest.approx(0)


def test_cosine_without_warmup_starts_at_the_peak() -> None:
    assert values(cosine.build(cosine.Cosine(warmup_steps=0), total_steps=2, learning_rate=PEAK), 2) == pytest.approx(
        [1, 0.5]
    )


def test_linear_falls_in_a_line() -> None:
    factor = linear.build(linear.Linear(warmup_steps=2), total_steps=6, learning_rate=PEAK)
    assert values(factor, 6) == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])


def test_constant_stays_at_the_peak() -> None:
    assert values(constant.build(constant.Constant(), total_steps=3), 3) == [1, 1, 1]
    assert values(constant.build(constant.Constant(warmup_steps=2), total_steps=4), 4) == [0, 0.5, 1, 1]


@pytest.mark.parametrize(("share", "total", "steps"), [(0.05, 1200, 60), (0.29, 100, 29), (0.9, 1, 0), (0.99, 10, 9)])
def test_a_warmup_may_be_a_share_of_the_run(share: float, total: int, steps: int) -> None:
    options = cosine.Cosine(warmup_steps=None, warmup=share)
    assert options.warmup_length(total) == steps
    found = values(cosine.build(options, total_steps=total, learning_rate=PEAK), total)
    assert found == values(
        cosine.build(cosine.Cosine(warmup_steps=steps), total_steps=total, learning_rate=PEAK), total
    )
    assert found[steps] == 1


def test_no_warmup_in_either_form_is_none() -> None:
    assert cosine.Cosine(warmup_steps=None).warmup_length(9) == 0


def test_a_share_fits_a_run_of_any_length() -> None:
    for total in range(1, 60):
        assert list(warmup_fits(context(cosine.Cosine(warmup_steps=None, warmup=0.05), total, "warmup"))) == []


@pytest.mark.parametrize(
    ("shape", "decay"), [("linear", [1, 0.75, 0.5, 0.25]), ("sqrt", [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5])]
)
def test_warmup_stable_decay_has_three_phases(shape: Any, decay: list[float]) -> None:
    options = warmup_stable_decay.WarmupStableDecay(warmup_steps=2, decay_share=0.4, decay_shape=shape)
    assert values(warmup_stable_decay.build(options, total_steps=10, learning_rate=PEAK), 10) == pytest.approx(
        [0, 0.5, 1, 1, 1, 1, *decay]
    )


def test_warmup_stable_decay_without_decay_is_constant() -> None:
    options = warmup_stable_decay.WarmupStableDecay(warmup_steps=0, decay_share=0.0)
    assert values(warmup_stable_decay.build(options, total_steps=3, learning_rate=PEAK), 3) == [1, 1, 1]


@pytest.mark.parametrize(
    ("module", "options", "least"),
    [
        (cosine, cosine.Cosine(warmup_steps=0, min_lr=1e-3), 0.25 + 0.75 * (1 + cos(pi * 3 / 4)) / 2),
        (linear, linear.Linear(warmup_steps=0, min_lr=1e-3), 0.25 + 0.75 / 4),
        (
            warmup_stable_decay,
            warmup_stable_decay.WarmupStableDecay(warmup_steps=0, decay_share=1.0, decay_shape="linear", min_lr=1e-3),
            0.25 + 0.75 / 4,
        ),
    ],
)
def test_a_decay_ends_at_the_smallest_rate(module: Any, options: Any, least: float) -> None:
    factor = module.build(options, total_steps=4, learning_rate=PEAK)
    assert factor(0) == 1
    assert factor(3) == pytest.approx(least)
    assert factor(4) * PEAK == pytest.approx(1e-3)


def test_the_warmup_begins_at_zero_whatever_the_smallest_rate() -> None:
    factor = cosine.build(cosine.Cosine(warmup_steps=2, min_lr=1e-3), total_steps=4, learning_rate=PEAK)
    assert values(factor, 3) == [0, 0.5, 1]


@pytest.mark.parametrize(("rate", "refused"), [(4e-3, True), (1.0, True), (3e-3, False), (0.0, False)])
def test_a_smallest_rate_that_is_not_below_the_peak_is_refused(rate: float, refused: bool) -> None:
    given = context(linear.Linear(min_lr=rate), 10, "min_lr")
    problems = list(ends_below_peak(given))
    assert [problem.path for problem in problems] == [("lr_scheduler", "min_lr")] * refused
    if refused:
        assert f"min_lr is {rate:g}, which is not below training.learning_rate 0.004" in problems[0].message


def test_restarts_return_to_the_peak() -> None:
    options = cosine.Cosine(warmup_steps=2, restarts=2)
    factor = cosine.build(options, total_steps=14, learning_rate=PEAK)
    cycle = [(1 + cos(pi * i / 4)) / 2 for i in range(4)]
    assert values(factor, 14) == pytest.approx([0, 0.5, *cycle, *cycle, *cycle])


def test_each_cycle_may_be_longer_than_the_one_before() -> None:
    options = cosine.Cosine(warmup_steps=0, restarts=2, cycle_growth=2.0, min_lr=1e-3)
    factor = cosine.build(options, total_steps=14, learning_rate=PEAK)
    assert [step for step in range(14) if factor(step) == 1] == [0, 2, 6]
    assert factor(10) == pytest.approx(0.25 + 0.75 / 2)


@pytest.mark.parametrize("options", [{"restarts": 10}, {"restarts": 3, "cycle_growth": 4.0}, {"restarts": 10**9}])
def test_restarts_for_which_the_run_is_too_short_are_refused(options: Any) -> None:
    chosen = cosine.Cosine(warmup_steps=0, **options)
    (problem,) = cosine.cycles_fit(context(chosen, 10, "restarts"))
    assert isinstance(problem, Problem)
    assert problem.path == ("lr_scheduler", "restarts")
    assert f"restarts is {options['restarts']}" in problem.message


def test_restarts_that_fit_are_left_alone() -> None:
    chosen = cosine.Cosine(warmup_steps=0, restarts=3, cycle_growth=4.0)
    assert list(cosine.cycles_fit(context(chosen, 100, "restarts"))) == []
    assert list(cosine.cycles_fit(context(chosen, None, "restarts"))) == []


def test_a_growth_beyond_all_floats_is_refused_and_not_an_error() -> None:
    chosen = cosine.Cosine(warmup_steps=0, restarts=400, cycle_growth=1e300)
    (problem,) = cosine.cycles_fit(context(chosen, 1000, "restarts"))
    assert isinstance(problem, Problem)


@given(total=st.integers(1, 400), data=st.data())
def test_factors_lie_between_zero_and_one_and_reach_the_peak(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    least = data.draw(st.floats(0, PEAK, exclude_max=True))
    stable = warmup_stable_decay.WarmupStableDecay(
        min_lr=least, warmup_steps=warmup, decay_share=data.draw(st.floats(0, (total - warmup) / total))
    )
    for factor in (
        cosine.build(cosine.Cosine(warmup_steps=warmup, min_lr=least), total_steps=total, learning_rate=PEAK),
        linear.build(linear.Linear(warmup_steps=warmup, min_lr=least), total_steps=total, learning_rate=PEAK),
        constant.build(constant.Constant(warmup_steps=warmup), total_steps=total),
        warmup_stable_decay.build(stable, total_steps=total, learning_rate=PEAK),
    ):
        found = values(factor, total)
        assert min(found) >= 0
        assert max(found) == found[warmup] == 1


def context(options: Any, total: int | None, *written: str) -> RuleContext:
    config: Any = SimpleNamespace(training=SimpleNamespace(learning_rate=PEAK))
    paths = frozenset(("lr_scheduler", key) for key in written)
    return RuleContext(config, ("lr_scheduler",), options, Facts(total), paths)


@pytest.mark.parametrize("total", [10, 9])
def test_a_written_warmup_that_fills_the_run_is_refused(total: int) -> None:
    (problem,) = warmup_fits(context(cosine.Cosine(warmup_steps=10), total, "warmup_steps"))
    assert isinstance(problem, Problem)
    assert problem.path == ("lr_scheduler", "warmup_steps")
    assert f"warmup_steps is 10, but the run has {total} optimizer steps" in problem.message


@pytest.mark.parametrize(("total", "lowered"), [(500, 50), (99, 9), (5, 0)])
def test_the_default_warmup_is_lowered_to_a_tenth(total: int, lowered: int) -> None:
    (adjustment,) = warmup_fits(context(cosine.Cosine(), total))
    assert isinstance(adjustment, Adjustment)
    assert (adjustment.path, adjustment.value) == (("lr_scheduler", "warmup_steps"), lowered)


def test_a_warmup_that_fits_is_left_alone() -> None:
    assert list(warmup_fits(context(cosine.Cosine(), 501))) == []
    assert list(warmup_fits(context(cosine.Cosine(warmup_steps=10), 11, "warmup_steps"))) == []
    assert list(warmup_fits(context(cosine.Cosine(), None))) == []
    assert list(warmup_fits(context(constant.Constant(), 1))) == []


def test_a_written_warmup_that_meets_the_decay_is_refused() -> None:
    options = warmup_stable_decay.WarmupStableDecay(warmup_steps=60, decay_share=0.5)
    (problem,) = warmup_stable_decay.phases_fit(context(options, 100, "warmup_steps"))
    assert isinstance(problem, Problem)
    assert problem.path == ("lr_scheduler", "decay_share")
    assert list(warmup_stable_decay.phases_fit(context(options, 120, "warmup_steps"))) == []


def test_a_default_warmup_that_meets_the_decay_is_lowered() -> None:
    (adjustment,) = warmup_stable_decay.phases_fit(context(warmup_stable_decay.WarmupStableDecay(), 600))
    assert isinstance(adjustment, Adjustment)
    assert adjustment.value == 60
    (problem,) = warmup_stable_decay.phases_fit(
        context(warmup_stable_decay.WarmupStableDecay(decay_share=0.95), 600, "decay_share")
    )
    assert isinstance(problem, Problem)
