"""RetryQueue: what is written beside training waits while a disk is full or failing, and training goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["RetryQueue"]

_MOST_WAITING = 10_000
"""Beyond it the oldest work is dropped: a tracker may be out of reach for good."""


@dataclass
class RetryQueue:
    """Work on one file or service, done in its order; what fails with an OSError is tried again before the next."""

    name: str
    """What it is for, in notices."""
    notice: Callable[[str], None]
    _waiting: deque[Callable[[], object]] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    _failing: bool = False

    def do(self, work: Callable[[], object]) -> None:
        """Do what waits and then this, as far as it goes."""
        self._waiting.append(work)
        self.settle()

    def settle(self) -> bool:
        """Do what waits. Returns whether nothing waits any more; a failure is told once."""
        while self._waiting:
            try:
                self._waiting[0]()
            except OSError as error:
                if not self._failing:
                    self.notice(f"{self.name} cannot be written ({error.strerror or error}); it is tried again later")
                self._failing = True
                return False
            self._waiting.popleft()
        self._failing = False
        return True
