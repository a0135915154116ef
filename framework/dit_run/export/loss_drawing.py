"""The loss of a run over its steps, as a drawing for the model card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["curves"]

_CURVES = {"loss": "#888888", "validation/loss": "#1f77b4", "validation/loss_ema": "#d62728"}
"""Colour of each value that is drawn."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 320, 60, 30, 20
"""Pixels: the drawing, and the space around the curves."""
_POINTS = 500
"""Points of a curve at most."""


def curves(metrics: Sequence[Mapping[str, Any]]) -> str | None:
    """Return an SVG of the losses in the lines of a metrics file; None where fewer than two steps have one."""
    points = {name: _points(metrics, name) for name in _CURVES}
    drawn = {name: found for name, found in points.items() if len(found) > 1}
    if not drawn:
        return None
    steps = [step for found in drawn.values() for step, _ in found]
    values = [value for found in drawn.values() for _, value in found]
    (first, last), (low, high) = (min(steps), max(steps)), (min(values), max(values))
    across, up = (_WIDTH - _LEFT - 10) / max(last - first, 1), (_HEIGHT - _BOTTOM - _TOP) / (high - low or 1)
    floor = _HEIGHT - _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - 10}" fill="none" stroke="black"/>',
        f'<text x="{_LEFT - 5}" y="{_TOP + 5}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 5}" y="{floor}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">step {first:,}</text>',
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 10}" text-anchor="end">step {last:,}</text>',
    ]
    for place, (name, found) in enumerate(drawn.items()):
        path = " ".join(f"{_LEFT + (s - first) * across:.1f},{floor - (v - low) * up:.1f}" for s, v in found)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{_CURVES[name]}"/>')
        lines.append(f'<text x="{_LEFT + 20 + 150 * place}" y="{_TOP - 6}" fill="{_CURVES[name]}">{name}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    found = [(line["step"], line[name]) for line in metrics if isinstance(line.get(name), int | float)]
    finite = [(step, value) for step, value in found if math.isfinite(value)]
    return finite[:: max(len(finite) // _POINTS, 1)]
