"""When things happen in a run: logging, validation, pictures, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from dit_run.data.order import Plan
from dit_run.settings import Config

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Answers, for the number of steps done, what is due. Everything is due at the end but logging twice."""

    config: Config
    plan: Plan

    def logs(self, step: int) -> bool:
        return step % self.config.training.logging_steps == 0 or self._ends(step)

    def validates(self, step: int) -> bool:
        return self._due(step, self.config.validation.every_n_steps)

    def scores(self, step: int) -> bool:
        """Metrics are measured."""
        every = self.config.validation.metrics_every_n_steps
        return self._ends(step) or (every is not None and step % every == 0)

    def draws(self, step: int) -> bool:
        """A grid of pictures is made."""
        return self._due(step, self.config.sampling.every_n_steps)

    def saves(self, step: int) -> bool:
        training = self.config.training
        by_steps = training.save_steps is not None and step % training.save_steps == 0
        epochs = training.save_every_n_epochs
        return by_steps or self._ends(step) or (epochs is not None and self.plan.completes_every(step, epochs))

    def _due(self, step: int, every: int | None) -> bool:
        return every is not None and (step % every == 0 or self._ends(step))

    def _ends(self, step: int) -> bool:
        return step == self.plan.total_steps
