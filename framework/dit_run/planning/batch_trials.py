"""Trials of batch sizes: the memory and time of training steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dit_run.compute.out_of_memory import OutOfMemory, translate_out_of_memory
from dit_run.planning.trial_run import TrialRun

__all__ = ["BatchTrials"]

BUDGET = 30.0
"""Time for all batch sizes; the cost of larger ones is extrapolated (seconds)."""
WARM_UP = 2
"""Steps of a batch size whose peak memory counts; the second one still gets some memory from the system (number)."""
MIN_STEPS, MAX_STEPS, LONG_ENOUGH = 2, 10, 1.0
"""Steps of a batch size whose time counts: at least, and at most while they take less than this time (seconds)."""
SAFE_SHARE = 0.8
"""Most memory that a trial may be expected to take (share of the device's)."""


@dataclass
class BatchTrials:
    """The results of the trials, at rising batch sizes."""

    trial: TrialRun
    peaks: list[tuple[int, float]] = field(default_factory=list)
    """(batch size, peak memory in bytes)."""
    passes: list[tuple[int, float]] = field(default_factory=list)
    """(batch size, seconds of forward and backward)."""

    def run(self) -> None:
        """Try batch sizes as far as time and memory allow. Raises OutOfMemory where one sample does not fit."""
        trial = self.trial
        with translate_out_of_memory(1, 1):
            trial.advance(1)
        trial.meter.reset()
        trial.held = trial.meter.now
        began = trial.clock()
        for size in self._sizes():
            if self.peaks and self._costs_too_much(size, trial.clock() - began):
                break
            try:
                with translate_out_of_memory(size, 1):
                    peak, seconds = self._measure(size)
            except OutOfMemory:
                if not self.peaks:
                    raise
                break
            self.peaks.append((size, peak))
            self.passes.append((size, seconds))
            trial.largest = size

    def _sizes(self) -> Iterator[int]:
        """Yield the powers of two below the batch size, the size, and its double if a split may be that large."""
        size, effective = self.trial.layout.batch_size, self.trial.layout.global_batch
        yield from (2**power for power in range(size.bit_length()) if 2**power < size)
        yield from (size, 2 * size) if 2 * size <= effective else (size,)

    def _costs_too_much(self, size: int, spent: float) -> bool:
        """Return True if a trial of this size would take too long, or more memory than is safe."""
        smaller, seconds = self.passes[-1]
        growth = size / smaller
        needed = (WARM_UP + MIN_STEPS) * seconds * self.trial.micro_batches(size) * growth
        peak = self.peaks[-1][1] + (self.peaks[-1][1] - self.peaks[0][1]) * growth
        return spent + needed > BUDGET or peak > SAFE_SHARE * self.trial.meter.total

    def _measure(self, size: int) -> tuple[float, float]:
        """Return peak memory and seconds of steps with micro-batches of this size."""
        trial = self.trial
        left = trial.begin_trial()
        for _ in range(WARM_UP):
            trial.advance(size)
        peak = float(trial.meter.peak - left)
        began, steps = trial.clock(), 0
        while steps < MIN_STEPS or (steps < MAX_STEPS and trial.clock() - began < LONG_ENOUGH):
            trial.advance(size)
            steps += 1
        warm = steps * trial.micro_batches(size)
        return peak, trial.timer.typical("forward", warm) + trial.timer.typical("backward", warm)
