"""Bad samples: those that cannot be read, and the limit on skipping them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dit_run.problems import InputError

__all__ = ["MAX_BAD_SHARE", "BadSample", "BadSamples"]

MAX_BAD_SHARE = 0.05
"""Largest share of samples that may be skipped."""


class BadSample(NamedTuple):
    """A skipped sample and the reason."""

    key: str
    reason: str


class BadSamples:
    """The distinct samples that were skipped. One may always be bad; beyond that MAX_BAD_SHARE is the limit."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reasons: dict[str, str] = {}
        """Reason for each skipped sample, by key."""

    def add(self, bad: Iterable[BadSample]) -> tuple[BadSample, ...]:
        """Add samples and return the new ones. Raises InputError if there are too many."""
        new = tuple(sample for sample in dict(bad).items() if sample[0] not in self.reasons)
        self.reasons.update(new)
        if len(self.reasons) > max(1, MAX_BAD_SHARE * self.total):
            raise InputError(
                f"{len(self.reasons)} of {self.total} samples cannot be read, more than {MAX_BAD_SHARE:.0%}: "
                + "; ".join(list(self.reasons.values())[:5])
            )
        return tuple(BadSample(*sample) for sample in new)
