"""Relations between keys: a key that acts under a condition, is another form of one, or had another name before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Condition", "Formerly", "InsteadOf", "acts_if", "acts_unless", "instead_of"]


@dataclass(frozen=True)
class Condition:
    """The value of another key under which a key has an effect; made by :func:`acts_if` and :func:`acts_unless`."""

    key: str
    """``use_ema`` for a key of the same mapping, ``training.use_ema`` or ``metrics`` for any other."""
    holds: Callable[[Any], bool]
    """Return True for a value of the other key with which the key has an effect."""


def acts_if(key: str, wanted: object) -> Condition:
    """Return the condition that another key has this value, to use inside ``Annotated``.

    ``wanted`` may be a function of the value that returns True or False. A key that is written although its condition
    does not hold is reported as having no effect.
    """
    return Condition(key, wanted if callable(wanted) else lambda value: bool(value == wanted))


def acts_unless(key: str, unwanted: object) -> Condition:
    """Return the condition that another key has any value but this one, to use inside ``Annotated``."""
    return Condition(key, lambda value: bool(value != unwanted))


@dataclass(frozen=True)
class InsteadOf:
    """The key is another form of a key of the same mapping; made by :func:`instead_of`."""

    key: str


def instead_of(key: str) -> InsteadOf:
    """Return the relation of a key, null by default, that may be written in place of another one.

    At most one of the two is written; one that a higher layer of the config writes replaces the other of a lower layer.
    The other key has to accept null, which it gets when this one is written.
    """
    return InsteadOf(key)


@dataclass(frozen=True)
class Formerly:
    """An old name of the key, to use inside ``Annotated``: ``Annotated[float, Formerly("old_name")]``.

    A config with the old name has the same meaning, and a notice names the new one; a mapping that has both names is
    refused. A key that was renamed twice has two of them.
    """

    name: str
