"""A tokenizer without a vocabulary.

A token is a word, a digit, a punctuation mark, or one character of a script written without spaces. Its id is 62 bits
of a hash of its text, so no list of words is needed, and two words practically never share an id (for a million words,
the probability is one in ten million).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

__all__ = ["PADDING", "START", "token_ids", "words_of"]

PADDING = 0
START = 1

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese kana and Chinese characters: written without spaces between words."""
_TOKEN = rf"[{_UNSPACED}]|\d|[^\W\d{_UNSPACED}]+|[^\w\s]"


def words_of(caption: str) -> list[str]:
    """Return the tokens' texts, compatibility-normalised and case-folded."""
    return re.findall(_TOKEN, unicodedata.normalize("NFKC", caption).casefold())


def token_ids(caption: str, max_length: int) -> tuple[list[int], bool]:
    """Return ids that start with the start marker, and True if the caption was cut to ``max_length`` ids."""
    words = words_of(caption)
    return [START, *(_word_id(word) for word in words[: max_length - 1])], len(words) > max_length - 1


@lru_cache(maxsize=1 << 16)
def _word_id(word: str) -> int:
    """Return 62 bits of a hash, never PADDING or START."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 2) | 2
