"""words: a small text encoder that trains with the model. No download, no vocabulary, any language.

A token is a word, a number's digits, a punctuation mark, or one character of a script written without spaces. Its id is
62 bits of a hash of its text, so that the tokenizer needs no list of words and no two words share an id in practice
(a million words: a chance of one in ten million).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from dit_run.options import PositiveInt, bounds
from dit_run.problems import Problem
from dit_run.protocols import RuleContext

__all__ = ["PADDING", "START", "Words", "heads_divide", "token_ids", "words_of"]


@dataclass(frozen=True, kw_only=True)
class Words:
    """A small transformer over words, from scratch, trained with the model."""

    width: PositiveInt = 128
    """Width of a token's state."""
    num_layers: PositiveInt = 2
    """Transformer blocks."""
    num_heads: PositiveInt = 4
    """Attention heads; must divide width."""
    buckets: Annotated[int, bounds(ge=2)] = 4096
    """Rows of each of the two embedding tables. A word's embedding is the sum of a row of each, so two words have the
    same only with a chance of 1 / buckets²."""
    max_length: Annotated[int, bounds(ge=2)] = 77
    """The most tokens a caption has, its start marker included; longer ones are cut."""


PADDING = 0
START = 1

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese kana and Chinese characters: written without spaces between words."""
_TOKEN = rf"[{_UNSPACED}]|\d|[^\W\d{_UNSPACED}]+|[^\w\s]"


def words_of(caption: str) -> list[str]:
    """The tokens' texts: compatibility-normalised, without case."""
    return re.findall(_TOKEN, unicodedata.normalize("NFKC", caption).casefold())


def token_ids(caption: str, max_length: int) -> tuple[list[int], bool]:
    """Ids with the start marker, and whether the caption was longer than ``max_length``."""
    words = words_of(caption)
    return [START, *(_word_id(word) for word in words[: max_length - 1])], len(words) > max_length - 1


@lru_cache(maxsize=1 << 16)
def _word_id(word: str) -> int:
    """62 bits of a hash; never one of the markers."""
    import hashlib  # loads OpenSSL

    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 2) | 2


def heads_divide(context: RuleContext) -> Iterator[Problem]:
    """num_heads divides width."""
    options: Words = context.options
    if options.width % options.num_heads:
        yield Problem(
            code="heads-do-not-divide",
            message=f"text_encoder.num_heads {options.num_heads} does not divide text_encoder.width {options.width}",
            path=(*context.path, "num_heads"),
            related=((*context.path, "width"),),
        )
