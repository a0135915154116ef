"""Captions and numbers in members of a tar shard: the lines of a ``.txt``, or keys of a ``.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dit_run.data.caption_weights import Caption, weighted
from dit_run.data.scalar_columns import scalars_in

__all__ = ["CAPTION_SUFFIXES", "captions_in", "scalars_of_json"]

CAPTION_SUFFIXES = (".txt", ".json")
_CAPTION_KEYS = ("captions", "caption", "text", "prompt")
"""Keys of a sample's ``.json`` that hold its caption, or a list of them; the first that exists is used."""


def captions_in(name: str, content: bytes, *, whole: bool) -> list[Caption]:
    """Return the captions in a member of this name, which may have none.

    ``whole`` takes a ``.txt`` as one caption; else each of its lines is one. Raises ValueError.
    """
    if name.lower().endswith(".json"):
        return _of_json(json.loads(content))
    return [Caption(text) for text in _of_text(content.decode("utf-8-sig"), whole)]


def scalars_of_json(content: bytes, names: Sequence[str], where: str) -> tuple[float, ...]:
    """Return the numbers of these names in a ``.json`` member. Raises InputError, which starts with ``where``."""
    return scalars_in(json.loads(content), names, where)


def _of_text(text: str, whole: bool) -> list[str]:
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    return [" ".join(lines)] if whole and lines else lines


def _of_json(content: Any) -> list[Caption]:
    """Return the captions of a sample's metadata, which may have none. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError(f"expected an object with one of the keys {', '.join(_CAPTION_KEYS)}")
    value: Any = next((content[key] for key in _CAPTION_KEYS if content.get(key) is not None), [])
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(f"expected a text or a list of texts, not {value!r}")
    joined = [Caption(" ".join(caption.text.split()), caption.weight) for caption in weighted(captions, content)]
    return [caption for caption in joined if caption.text]
