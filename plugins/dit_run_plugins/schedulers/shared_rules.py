"""The rule that the schedulers share."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["sampler_fits"]


def sampler_fits(context: RuleContext) -> Iterator[Problem]:
    """Refuse a `sampling.sampler` that is not in the ``samplers`` of the scheduler's options class."""
    chosen, samplers = context.config.sampling.sampler, context.options.samplers
    if chosen is not None and chosen not in samplers:
        name, offered = context.config.scheduler.type, ", ".join(samplers)
        yield Problem(
            code="sampler-does-not-fit",
            message=f"sampling.sampler is {chosen!r}, which does not fit scheduler {name}: it has {offered}",
            path=("sampling", "sampler"),
            related=((*context.path, "type"),),
            help=(f"choose one of these, or leave the key out for {samplers[0]}",),
        )
