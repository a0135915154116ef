"""The plot of a sweep of learning rates: the loss over the rate, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path

from PIL import Image, ImageDraw

from dit_run.sampling.drawn_captions import LINE_HEIGHT, draw_line
from dit_run.sampling.image_files import save_png
from dit_run.training.rate_sweep import RateSweep

__all__ = ["write_plot"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 800, 480, 70, 50, 30, 20
"""Pixels: the drawing, and the space around the curves."""
_MEASURED, _AVERAGED, _SUGGESTED = "#bbbbbb", "#1f77b4", "#d62728"


class _Axes:
    """Places of rates and losses on the drawing."""

    def __init__(self, sweep: RateSweep) -> None:
        self.low, self.high = min(sweep.losses), max(sweep.first, *sweep.averaged)
        self.decades = range(floor(log10(sweep.rates[0])), ceil(log10(sweep.rates[-1])) + 1)

    def across(self, rate: float) -> float:
        share = (log10(rate) - self.decades[0]) / max(len(self.decades) - 1, 1)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(self, loss: float) -> float:
        """Return the place of a loss; one above the axis is at its end."""
        share = min(1.0, (loss - self.low) / ((self.high - self.low) or 1))
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def write_plot(path: Path, sweep: RateSweep) -> None:
    """Write a PNG of the losses of a sweep of at least one step, with the suggestion if there is one."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, axes = ImageDraw.Draw(image), _Axes(sweep)
    _draw_axes(draw, axes)
    _draw_curve(draw, axes, sweep.rates, sweep.losses, _MEASURED, 1)
    _draw_curve(draw, axes, sweep.rates, sweep.averaged, _AVERAGED, 3)
    if sweep.suggestion is not None:
        place = axes.across(sweep.suggestion)
        draw.line((place, _TOP, place, _HEIGHT - _BOTTOM), fill=_SUGGESTED, width=2)
        _write(draw, (place + 6, _TOP), f"suggested {sweep.suggestion:.2g}")
    save_png(path, image)


def _draw_axes(draw: ImageDraw.ImageDraw, axes: _Axes) -> None:
    foot = _HEIGHT - _BOTTOM
    draw.line((_LEFT, _TOP, _LEFT, foot, _WIDTH - _RIGHT, foot), fill="black", width=1)
    for decade in axes.decades:
        place = axes.across(10.0**decade)
        draw.line((place, foot, place, foot + 5), fill="black", width=1)
        _write(draw, (place - 16, foot + 8), f"1e{decade}")
    for loss in (axes.low, axes.high):
        _write(draw, (6, axes.down(loss) - LINE_HEIGHT / 2), f"{loss:.4g}")
    _write(
        draw, (_LEFT, _HEIGHT - LINE_HEIGHT - 4), "learning rate; loss of fixed samples after each step, and averaged"
    )


def _draw_curve(
    draw: ImageDraw.ImageDraw, axes: _Axes, rates: Sequence[float], losses: Sequence[float], colour: str, width: int
) -> None:
    points = [(axes.across(rate), axes.down(loss)) for rate, loss in zip(rates, losses, strict=True)]
    draw.line(points, fill=colour, width=width)


def _write(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str) -> None:
    draw_line(draw, (round(at[0]), round(at[1])), text, _WIDTH)
