"""words: a small text encoder that trains with the model. No download, no vocabulary, any language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from dit_run.config.keys import key_name
from dit_run.options import PositiveInt, bounds
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["Words", "heads_divide"]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A small transformer over words, trained from scratch with the model."""

    width: PositiveInt = 128
    """Width of a token's state."""
    num_layers: PositiveInt = 2
    """Number of transformer blocks."""
    num_heads: PositiveInt = 4
    """Number of attention heads; must divide width."""
    buckets: Annotated[int, bounds(ge=2)] = 4096
    """Rows of each of the two embedding tables. A word's embedding is the sum of one row of each, so two words have the
    same embedding with a probability of only 1 / buckets²."""
    max_length: Annotated[int, bounds(ge=2)] = 77
    """Largest number of tokens of a caption, including its start marker; longer captions are cut."""


def heads_divide(context: RuleContext) -> Iterator[Problem]:
    """Refuse a num_heads that does not divide width."""
    options, name = context.options, key_name(context.path)
    if options.width % options.num_heads:
        yield Problem(
            code="heads-do-not-divide",
            message=f"{name}.num_heads {options.num_heads} does not divide {name}.width {options.width}",
            path=(*context.path, "num_heads"),
            related=((*context.path, "width"),),
        )
