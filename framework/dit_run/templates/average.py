"""An average of the weights: the mean of a part of the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dit_run import Component, Kind, hookimpl
from dit_run.options import NonNegativeInt
from dit_run.protocols import AverageShare


@dataclass(frozen=True, kw_only=True)
class Example:
    """The mean of the weights after each step from one on; until then the weights themselves."""

    start: NonNegativeInt = 100
    """Step after which the mean begins."""


def build(options: Example) -> AverageShare:
    """Return a pure function of the optimizer step; its value, 0 to 1, is the share of the new weights."""
    return partial(share, start=options.start)


def share(step: int, *, start: int) -> float:
    return 1 / max(step + 1 - start, 1)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.AVERAGE, "example", Example, build)]
