"""Rules of the objectives of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dit_run.problems import KeyPath, Problem
from dit_run.protocols import RuleContext

__all__ = ["every_step_has_an_objective", "objectives_act"]


def objectives_act(context: RuleContext) -> Iterator[Problem]:
    """Report an objective that ends before it starts."""
    for span in _spans(context):
        if span.start >= span.until:
            yield Problem(
                "never-acts",
                f"objective {span.type} starts after a share of {span.start:g} of the run and ends after "
                f"{span.until:g}, so it never acts",
                (*span.path, "until"),
                related=((*span.path, "start"),),
                help=("let until be greater than start",),
            )


def every_step_has_an_objective(context: RuleContext) -> Iterator[Problem]:
    """Report a part of the run in which no objective acts."""
    reached = 0.0
    for span in sorted(_spans(context), key=lambda span: span.start):
        if span.start > reached:
            yield _idle(reached, span.start, (*span.path, "start"))
        reached = max(reached, span.until)
    if reached < 1:
        last = max(_spans(context), key=lambda span: span.until)
        yield _idle(reached, 1.0, (*last.path, "until"))


def _idle(begin: float, end: float, path: KeyPath) -> Problem:
    return Problem(
        "nothing-to-train",
        f"no objective acts between the shares {begin:g} and {end:g} of the run",
        path,
        help=("let one objective act in every step, such as {type: denoising}",),
    )


class _Span(NamedTuple):
    """The part of the run in which an objective acts."""

    path: KeyPath
    type: str
    start: float
    until: float


def _spans(context: RuleContext) -> list[_Span]:
    chosen = [(path, choice) for path, choice in context.config.choices() if path[0] == "objective"]
    return [_Span(path, choice.type, choice.common.start, choice.common.until) for path, choice in chosen]
