"""The schedule of a run: the steps after which it logs, validates, samples, scores and saves."""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.data.order import RunLength
from dit_run.settings import Config

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The work that is due after each number of steps. At the end everything is due."""

    config: Config
    run_length: RunLength

    def logs(self, step: int) -> bool:
        return step % self.config.training.logging_steps == 0 or self._ends(step)

    def validates(self, step: int) -> bool:
        return self._due(step, self.config.validation.every_n_steps)

    def scores(self, step: int) -> bool:
        every = self.config.validation.metrics_every_n_steps
        return self._ends(step) or (every is not None and step % every == 0)

    def samples(self, step: int) -> bool:
        return self._due(step, self.config.sampling.every_n_steps)

    def watches(self, step: int) -> bool:
        """Return True where work is due that only watches the run and may take long."""
        return self.validates(step) or self.samples(step) or self.scores(step)

    def saves(self, step: int) -> bool:
        return self._saves_regularly(step) or self._ends(step)

    def _saves_regularly(self, step: int) -> bool:
        every, epochs = self.config.training.save_steps, self.config.training.save_every_n_epochs
        by_steps = every is not None and step % every == 0
        return by_steps or (epochs is not None and self.run_length.completes_every(step, epochs))

    def _due(self, step: int, every: int | None) -> bool:
        return every is not None and (step % every == 0 or self._ends(step))

    def _ends(self, step: int) -> bool:
        return step == self.run_length.total_steps

    # ---------------------------------------------------------------------------------------------------------- counts

    def saves_after(self, step: int) -> int:
        """Return the number of checkpoints after step ``step``; in constant time, however long the run is."""
        total = self.run_length.total_steps
        extra = not self._saves_regularly(total)
        return self._regular_saves(total) - self._regular_saves(step) + extra if step < total else 0

    @property
    def validations(self) -> int:
        return self._times(self.config.validation.every_n_steps)

    @property
    def samplings(self) -> int:
        return self._times(self.config.sampling.every_n_steps)

    @property
    def scorings(self) -> int:
        return self._times(self.config.validation.metrics_every_n_steps or self.run_length.total_steps)

    def _times(self, every: int | None) -> int:
        return 0 if every is None else -(-self.run_length.total_steps // every)

    def _regular_saves(self, steps: int) -> int:
        """Return the number of steps up to ``steps`` that save by steps or by epochs; those by both count once."""
        every, epochs = self.config.training.save_steps, self.config.training.save_every_n_epochs
        by_steps = 0 if every is None else steps // every
        if epochs is None:
            return by_steps
        by_epochs = min(steps, self.run_length.completed_epochs(steps) // epochs)
        both = 0 if every is None else self._completing(by_steps, every, epochs)
        return by_steps + by_epochs - both

    def _completing(self, count: int, every: int, epochs: int) -> int:
        """Return how many of the ``count`` steps ``every``, ``2 * every`` ... complete another ``epochs`` passes."""
        batch, period = self.run_length.global_batch, self.run_length.size * epochs
        if batch >= period:
            return count
        stride = every * batch
        return _floor_sum(count + 1, period, stride, 0) - _floor_sum(count, period, stride, stride - batch)


def _floor_sum(count: int, divisor: int, slope: int, start: int) -> int:
    """Return the sum of (slope * i + start) // divisor over i in [0, count), all at least 0, by Euclid's algorithm."""
    total = 0
    while count > 0:
        total += count * (count - 1) // 2 * (slope // divisor) + count * (start // divisor)
        slope, start = slope % divisor, start % divisor
        height = slope * count + start
        if height < divisor:
            break
        count, start = divmod(height, divisor)
        slope, divisor = divisor, slope
    return total
