"""Averages as profiles: shares in closed form, the paper's powers, and mixtures that give averages kept directly."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dit_run.model.average_profiles import decay_at, ema_share, mixture, power_of_length, power_profile, profile
from dit_run.training.average import Average

EMA = partial(decay_at, decay=0.95, power=0.75)


def test_a_fixed_decay_has_a_geometric_profile() -> None:
    assert profile(lambda step: 0.5, 3).tolist() == [0.125, 0.125, 0.25, 0.5]


def test_a_profile_has_the_sum_one() -> None:
    for each in (profile(EMA, 500), power_profile(0.1, 500), profile(lambda step: 0.99, 7)):
        assert each.sum() == pytest.approx(1)
        assert (each >= 0).all()


@pytest.mark.parametrize(("power", "length"), [(16.97, 0.05), (6.94, 0.1), (1.0, 0.2357)])
def test_powers_are_those_of_the_paper(power: float, length: float) -> None:
    assert power_of_length(length) == pytest.approx(power, rel=2e-3)


@pytest.mark.parametrize("length", [0.05, 0.1, 0.2])
def test_the_length_is_the_relative_standard_deviation_of_the_profile(length: float) -> None:
    shares, when = power_profile(length, 4000), np.arange(4001) / 4000
    mean = shares @ when
    assert np.sqrt(shares @ (when - mean) ** 2) == pytest.approx(length, rel=0.01)


def test_the_profile_is_that_of_the_average_that_a_run_keeps() -> None:
    live, generator = nn.Linear(1, 1, bias=False).double(), torch.Generator().manual_seed(0)
    ema, seen = Average(live, partial(ema_share, decay=0.9, power=0.5)), [live.weight.item()]
    ema.module.double()
    for step in range(40):
        with torch.no_grad():
            live.weight.normal_(generator=generator)
        seen.append(live.weight.item())
        ema.update(step)
    shares = profile(partial(decay_at, decay=0.9, power=0.5), 40)
    assert ema.module.weight.item() == pytest.approx(shares @ np.array(seen), rel=1e-6)


@pytest.mark.parametrize("length", [0.08, 0.1, 0.15])
def test_averages_of_checkpoints_give_one_that_was_kept_directly(length: float) -> None:
    """Weights that move as those of a model do: towards a place, with noise."""
    generator, steps, saved = np.random.default_rng(0), 2000, range(50, 2001, 50)
    path = np.cumsum(generator.normal(size=(steps + 1, 64)), 0) * 0.01 + np.linspace(0, 1, steps + 1)[:, None]
    profiles = [profile(partial(decay_at, decay=0.9995, power=0.75), step) for step in saved]
    found = mixture(profiles, power_profile(length, steps))
    kept = [each @ path[: len(each)] for each in profiles]
    mixed = sum(factor * average for factor, average in zip(found.factors, kept, strict=True))
    direct = power_profile(length, steps) @ path
    assert np.linalg.norm(mixed - direct) / np.linalg.norm(direct) < 1e-3
    assert sum(found.factors) == pytest.approx(1)
    assert found.error < 0.03


def test_an_average_that_is_there_is_itself() -> None:
    found = mixture([profile(EMA, 20), profile(EMA, 60)], profile(EMA, 60))
    assert found.factors == pytest.approx((0, 1), abs=1e-9)
    assert found.error == pytest.approx(0, abs=1e-9)


def test_few_averages_say_how_far_they_are_off() -> None:
    one = mixture([profile(EMA, 100)], power_profile(0.1, 100))
    assert one.factors == (1.0,)
    assert one.error > 0.3
