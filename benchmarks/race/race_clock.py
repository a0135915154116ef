"""The clock of a race: seconds of training steps alone, of one processor thread or of one GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from dit_run.reporting import Silent

__all__ = ["Clock"]


class Clock(Silent):
    """Counts the seconds of steps, from the begin of training to the end of each step, as a run's reporter.

    Start-up, data on disk that is read once, and all that happens between two stretches of a run do not count.
    """

    def __init__(self, device: str, *, limit: float = float("inf"), now: Callable[[], float] | None = None) -> None:
        """Count until ``limit`` seconds; ``now`` is by default the clock of this process on the device.

        On a CPU it is the processor time of all threads of the process, so that other work on the machine does not
        matter; on a GPU the time of day.
        """
        self._device, self._limit = device, limit
        self._now = now or (time.perf_counter if device.startswith("cuda") else time.process_time)
        self._last = 0.0
        self.seconds = 0.0
        """Seconds of all steps so far."""
        self.steps = 0
        """Steps done."""
        self.target = 0
        """Step at which the present stretch ends."""
        self.taken: list[float] = []
        """Seconds of each step of this process, in order."""

    def begin(self, step: int, total_steps: int) -> None:
        self._wait()
        self._last = self._now()

    def step(self, step: int, loss: float | None) -> None:
        if step >= self.target:
            self._wait()
        now = self._now()
        self.taken.append(now - self._last)
        self.seconds += now - self._last
        self._last, self.steps = now, step

    def due(self) -> bool:
        """Return True where the stretch, or the time, is over."""
        return self.steps >= self.target or self.over

    @property
    def over(self) -> bool:
        return self.seconds >= self._limit

    @property
    def typical(self) -> float:
        """Median seconds of a step, without the first two."""
        return median(self.taken[2:] or self.taken)

    def _wait(self) -> None:
        """Wait for the work of a GPU that was given to it."""
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)
