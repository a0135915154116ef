"""A queue of writes: they wait while a disk is full or a service is out of reach, and training continues."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["RetryQueue"]

_MOST_WAITING = 10_000
"""Most waiting writes (number); beyond it the oldest is dropped, as a tracker may be out of reach for ever."""
_PAUSE = 10.0
"""Time until a failed write is tried again, as a multiple of the time that it took to fail."""


@dataclass
class RetryQueue:
    """Writes to one file or service, in order; a write that fails with an OSError is tried again before the next."""

    name: str
    """Name of the output, for notices."""
    notice: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _waiting: deque[Callable[[], object]] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    _failing: bool = False
    _not_before: float = 0.0

    @property
    def waiting(self) -> int:
        """Number of writes that are not done."""
        return len(self._waiting)

    def do(self, work: Callable[[], object]) -> None:
        """Do the waiting writes and then this one, until one fails."""
        self._waiting.append(work)
        self.settle()

    def settle(self, *, at_once: bool = False) -> bool:
        """Do the waiting writes, and return True if none is left. A failure is reported once.

        After a write that took long to fail, nothing is tried for a while, unless it is the last chance (``at_once``):
        a service that answers slowly costs a run a tenth of its time at most. Any other exception of a write drops it,
        and is raised.
        """
        while self._waiting:
            began = self.clock()
            if self._failing and began < self._not_before and not at_once:
                return False
            try:
                self._waiting[0]()
            except OSError as error:
                now = self.clock()
                self._not_before = now + _PAUSE * (now - began)
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
