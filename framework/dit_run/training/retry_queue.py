"""A queue of writes: they wait while a disk is full or fails, and training continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["RetryQueue"]

_MOST_WAITING = 10_000
"""Most waiting writes (number); beyond it the oldest is dropped, as a tracker may be out of reach for ever."""


@dataclass
class RetryQueue:
    """Writes to one file or service, in order; a write that fails with an OSError is tried again before the next."""

    name: str
    """Name of the output, for notices."""
    notice: Callable[[str], None]
    _waiting: deque[Callable[[], object]] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    _failing: bool = False

    def do(self, work: Callable[[], object]) -> None:
        """Do the waiting writes and then this one, until one fails."""
        self._waiting.append(work)
        self.settle()

    def settle(self) -> bool:
        """Do the waiting writes, and return True if none is left. A failure is reported once.

        Any other exception of a write drops it, and is raised.
        """
        while self._waiting:
            try:
                self._waiting[0]()
            except OSError as error:
                if not self._failing:
                    self.notice(f"{self.name} cannot be written ({error.strerror or error}); dit-run tries again later")
                self._failing = True
                return False
            except Exception:
                self._waiting.popleft()  # no later try can succeed
                raise
            self._waiting.popleft()
        self._failing = False
        return True
