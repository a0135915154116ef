"""The sweep of learning rates: what it makes of losses, and its drawing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dit_run.training.rate_plot import write_plot
from dit_run.training.rate_sweep import RateSweep

RATES = tuple(10.0 ** (index / 10 - 4) for index in range(40))
FALLING = tuple(1 - 0.02 * index for index in range(30))
"""Losses of a model that learns up to the rate 10 ** -1.1."""


def sweep(losses: tuple[float, ...], first: float = 1.0) -> RateSweep:
    return RateSweep(first, RATES[: len(losses)], losses)


def test_a_third_of_the_largest_rate_that_keeps_half_of_the_fall_is_suggested() -> None:
    found = sweep((*FALLING, *[0.5] * 4, *[0.9] * 6))
    assert found.lowest == pytest.approx(10**-1.1, rel=0.3)
    assert found.edge == RATES[34]  # around the next step, five of the seven losses that are averaged are large
    assert found.suggestion == pytest.approx(RATES[34] / 3)


def test_a_loss_that_never_grows_again_gives_a_third_of_the_last_rate() -> None:
    found = sweep(FALLING)
    assert (found.lowest, found.edge) == (RATES[29], RATES[29])
    assert found.suggestion == pytest.approx(RATES[29] / 3)


def test_a_single_bad_step_does_not_end_the_search() -> None:
    losses = [*FALLING, *[0.44] * 10]
    losses[31] = 0.9
    assert sweep(tuple(losses)).edge == RATES[39]


def test_losses_are_averaged_over_the_steps_around_them() -> None:
    assert sweep((1.0, 2.0, 6.0, 3.0, 5.0, 1.0, 3.0, 4.0)).averaged == pytest.approx(
        [1, 3, 17 / 5, 3, 24 / 7, 16 / 5, 8 / 3, 4]
    )


@pytest.mark.parametrize("losses", [(1.0, 1.0, 1.0), (0.995,) * 9, (1.1, 1.5, 3.9), ()])
def test_losses_that_do_not_fall_suggest_nothing(losses: tuple[float, ...]) -> None:
    found = sweep(losses)
    assert (found.lowest, found.edge, found.suggestion) == (None, None, None)


@pytest.mark.parametrize("losses", [FALLING, (1.0,), (1.1, 3.9)])
def test_the_plot_is_an_image_with_both_curves(losses: tuple[float, ...], tmp_path: Path) -> None:
    write_plot(tmp_path / "plot.png", sweep(losses))
    image = Image.open(tmp_path / "plot.png")
    assert image.size == (800, 480)
    colours = {colour for _, colour in image.getcolors(1 << 20) or []}
    drawn = {(0x1F, 0x77, 0xB4)} if len(losses) > 1 else set()
    suggested = {(0xD6, 0x27, 0x28)} if losses is FALLING else set()
    assert drawn | suggested <= colours
    assert ((0xD6, 0x27, 0x28) in colours) == bool(suggested)
