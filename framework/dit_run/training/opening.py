"""The opening: what a run says of itself before its first step."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.assembly.parts import Data, Encoders
from dit_run.model.denoiser import trainable_parameters
from dit_run.training.loop import Loop

__all__ = ["opening"]

_LOOKED_AT = 1000
"""Captions whose length is looked at."""


def opening(loop: Loop, data: Data, encoders: Encoders) -> Iterator[str]:
    """What is trained, on what, and for how long; where it goes on; captions that are not seen whole."""
    parameters = sum(parameter.numel() for _, parameter in trainable_parameters(loop.learner))
    held_out = f", {len(data.validation):,} held out" if data.validation is not None else ""
    begin = f"goes on after step {loop.done:,}: " if loop.done else ""
    yield (
        f"{begin}{parameters:,} parameters on {loop.processes.device}; {len(data.train):,} samples{held_out}; "
        f"{loop.total_steps:,} steps of {loop.layout.global_batch}"
    )
    if encoders.cached.captions is None:  # else they were counted when the cache was made
        yield from _cut(data, encoders)


def _cut(data: Data, encoders: Encoders) -> Iterator[str]:
    visits = data.train.visits(range(min(len(data.train), _LOOKED_AT)))
    cut = encoders.text.tokenize([visit.caption for visit in visits]).truncated
    if cut:
        yield (
            f"{cut:,} of {len(visits):,} captions are longer than the {encoders.text.max_length} tokens that the text "
            "encoder takes; the model does not see the rest of them"
        )
