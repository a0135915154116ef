"""Checks that the schedulers share; light to import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["sampler_problems"]


def sampler_problems(context: RuleContext, samplers: Sequence[str]) -> Iterator[Problem]:
    """A problem where `sampling.sampler` names none of the scheduler's samplers."""
    chosen = context.config.sampling.sampler
    if chosen is not None and chosen not in samplers:
        name, offered = context.config.scheduler.type, ", ".join(samplers)
        yield Problem(
            code="sampler-does-not-fit",
            message=f"sampling.sampler is {chosen!r}, which does not fit scheduler {name}: it has {offered}",
            path=("sampling", "sampler"),
            related=((*context.path, "type"),),
            help=(f"take one of these, or leave the key out for {samplers[0]}",),
        )
