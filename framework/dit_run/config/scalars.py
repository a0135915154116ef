"""Scalars: how a plain word of YAML is read, by the core schema of YAML 1.2."""

from __future__ import annotations

import re

__all__ = ["NotFinite", "read_scalar"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_MOST_DIGITS = 400
_LARGEST = 1.7976931348623157e308


class NotFinite(ValueError):
    """The word is a number that is infinite, not a number, or too large to be held."""


def read_scalar(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) word: ``1e-4`` a number, ``no``, ``on`` and ``12:30`` strings, ``010`` ten.

    Raises NotFinite for infinities, NaN and numbers beyond the range of a 64-bit float.
    """
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
    return _float(text) if _FLOAT.match(text) else text


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise NotFinite(text)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    value = int(text[2:] if base != 10 else text, base)
    if abs(value) > _LARGEST:
        raise NotFinite(text)
    return value


def _float(text: str) -> float:
    value = float(text)
    if abs(value) > _LARGEST:
        raise NotFinite(text)
    return value
