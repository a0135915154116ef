"""Scalars: values of unquoted YAML words, by the core schema of YAML 1.2."""

from __future__ import annotations

import re
from typing import TypeVar

__all__ = ["NotFinite", "read_scalar"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_MOST_DIGITS = 400
_LARGEST = 1.7976931348623157e308

N = TypeVar("N", int, float)


class NotFinite(ValueError):
    """Raised for infinities, NaN and numbers that do not fit a 64-bit float."""


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted word: ``1e-4`` is a number, ``no`` and ``12:30`` are strings, ``010`` is ten."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if _SPECIAL.match(text):
        raise NotFinite(text)
    if _INT.match(text) or _BASED.match(text):
        return _integer(text)
    return _in_range(float(text)) if _FLOAT.match(text) else text


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise NotFinite(text)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return _in_range(int(text[2:] if base != 10 else text, base))


def _in_range(value: N) -> N:
    if abs(value) > _LARGEST:
        raise NotFinite(str(value))
    return value
