"""Notices at the start: what is trained, on which data, what of them is left out, and which captions are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dit_run.config.weaker_predictions import weaker_step
from dit_run.data.samples import Samples
from dit_run.model.denoiser import trainable_parameters
from dit_run.sampling.drawn_captions import undrawable_notice
from dit_run.training.run_parts import RunParts
from dit_run.training.scoring import preview_prompts

__all__ = ["data_notices", "start_notices"]

_COUNTED_CAPTIONS = 1000
"""Captions whose tokens are counted (number)."""


def start_notices(parts: RunParts, step: int, global_batch: int) -> Iterator[str]:
    """Yield what is trained, on which data and for how long, where the run continues, and the count of cut captions."""
    data, parameters = parts.data, parts.denoiser.parameters()
    trained = sum(parameter.numel() for _, parameter in trainable_parameters(parts.denoiser))
    held = sum(parameter.numel() for parameter in parameters)
    share = f"{trained:,} parameters" if trained == held else f"{trained:,} of {held:,} parameters train"
    held_out = f", {len(data.validation):,} held out" if data.validation is not None else ""
    continues = f"continues after step {step:,}: " if step else ""
    place = f"{parts.device}" if parts.sharding is None else f"{parts.device}, {parts.sharding.count} shards"
    yield (
        f"{continues}{share} on {place}; {len(data.train):,} samples{held_out}; "
        f"{data.run_length.total_steps:,} steps of {global_batch}"
    )
    yield from data_notices(parts)
    if parts.config.sampling.every_n_steps is not None:
        notice = undrawable_notice(preview_prompts(parts.config, data))
        yield from [notice] if notice else []
        yield from _unguided(parts)


def _unguided(parts: RunParts) -> Iterator[str]:
    step = weaker_step(parts.config)
    if step is not None and parts.config.sampling.guidance_scale != 1 and not parts.weaker.saved:
        yield f"images are sampled without guidance until the checkpoint of step {step} is there (guidance.checkpoint)"


def data_notices(parts: RunParts) -> Iterator[str]:
    """Yield what is left out of the data and why, the sizes of images, and the count of cut captions."""
    if parts.data.train.parts.mixed:
        yield _mixture(parts.data.train)
    if table := parts.data.inventory.lines():
        yield "\n".join(table)
    if parts.data.fitted is not None:
        yield from parts.data.fitted.lines()
    yield from _cut_captions(parts)


def _mixture(train: Samples) -> str:
    """Return the share of each part of a mixture, and its number of training samples."""
    parts, total = train.parts.parts, sum(part.weight for part in train.parts.parts)
    counts = np.bincount(train.part_of_sample, minlength=len(parts)).tolist()
    shares = (
        f"{part.weight / total:.1%} {part.name} of {count:,} samples" for part, count in zip(parts, counts, strict=True)
    )
    return f"a mixture: {', '.join(shares)}"


def _cut_captions(parts: RunParts) -> Iterator[str]:
    train, texts = parts.data.train, parts.encoders.texts
    visits = train.visits(range(min(len(train), _COUNTED_CAPTIONS)))
    for place, text in enumerate(texts):
        tokens = text.tokenize([visit.caption for visit in visits])
        name = "the text encoder" if len(texts) == 1 else f"text_encoder[{place}]"
        if tokens.truncated:
            share = _share(tokens.truncated, len(visits))
            yield f"{share} are longer than the {text.max_length} tokens of {name}; the rest of them is ignored"
        longest = text.max_length if text.trainable else parts.encoders.state_format.longest(text.max_length)
        if long := int((tokens.mask.sum(1) > longest).sum()):
            yield (
                f"{_share(long, len(visits))} have more than the {longest} tokens of cache.max_tokens in {name}; the "
                "model does not read the states of the rest"
            )


def _share(part: int, count: int) -> str:
    return f"{part:,} of {count:,} captions ({part / count:.1%})"
