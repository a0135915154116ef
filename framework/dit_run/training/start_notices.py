"""Notices at the start of training: what is trained, on which data, and which captions are cut."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.model.codec import cut_captions_notice
from dit_run.model.denoiser import trainable_parameters
from dit_run.training.run_parts import RunParts

__all__ = ["start_notices"]

_COUNTED_CAPTIONS = 1000
"""Captions whose tokens are counted (number)."""


def start_notices(parts: RunParts, step: int, global_batch: int) -> Iterator[str]:
    """Yield what is trained, on which data and for how long, where the run continues, and the count of cut captions."""
    data, parameters = parts.data, sum(parameter.numel() for _, parameter in trainable_parameters(parts.denoiser))
    held_out = f", {len(data.validation):,} held out" if data.validation is not None else ""
    continues = f"continues after step {step:,}: " if step else ""
    yield (
        f"{continues}{parameters:,} parameters on {parts.device}; {len(data.train):,} samples{held_out}; "
        f"{data.run_length.total_steps:,} steps of {global_batch}"
    )
    if data.fitted is not None:
        yield from data.fitted.lines()
    if parts.encoders.cached.captions is None:  # else they were counted when the cache was filled
        yield from _cut_captions(parts)


def _cut_captions(parts: RunParts) -> Iterator[str]:
    train, text = parts.data.train, parts.encoders.text
    visits = train.visits(range(min(len(train), _COUNTED_CAPTIONS)))
    cut = text.tokenize([visit.caption for visit in visits]).truncated
    if cut:
        yield cut_captions_notice(cut, len(visits), text.max_length)
