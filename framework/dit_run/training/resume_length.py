"""Another length of a run that continues: extended in place where its learning rates so far stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dit_run.assembly.optimization import build_learning_rate_factor
from dit_run.problems import InputError
from dit_run.protocols import LearningRateFactor
from dit_run.settings import Config
from dit_run.training.resume_settings import fork_command

__all__ = ["NewLength"]

_COMPARED_STEPS = 10_000
"""Steps, spread evenly, whose learning rates are compared (number)."""


@dataclass(frozen=True)
class NewLength:
    """The length that a run had, and the one that it would continue with."""

    folder: Path
    step: int
    """Optimizer steps done."""
    before: int
    now: int
    config_before: Config
    """The config with the defaults that the earlier length gave."""
    config: Config

    def note(self, arguments: Sequence[str]) -> str:
        """Return what the new length means.

        Raises InputError where steps are done that the new length does not have, or that would have had other learning
        rates; ``arguments`` are those of the command, for the advice.
        """
        if self.now < self.step:
            raise InputError(
                f"{self.folder} holds a run that is at step {self.step}, and this config ends after {self.now}; raise "
                "training.max_steps or num_epochs, or start another run with --fresh DIR"
            )
        old = build_learning_rate_factor(self.config_before, self.before)
        new = build_learning_rate_factor(self.config, self.now)
        different = next((step for step in self._compared() if old(step) != new(step)), None)
        if different is not None:
            raise InputError(self._refusal(old, new, different, arguments))
        return (
            f"this run of {self.before} steps now ends after {self.now}: its learning rates so far are those of a run "
            "of that length"
        )

    def _refusal(
        self, old: LearningRateFactor, new: LearningRateFactor, different: int, arguments: Sequence[str]
    ) -> str:
        peak = self.config.training.learning_rate
        rates = f"{peak * old(different):.3g} and not {peak * new(different):.3g}"
        last, following = peak * old(self.step - 1), peak * new(self.step) if self.now > self.step else 0.0
        return (
            f"{self.folder} holds a run of {self.before} steps, and this config has {self.now}. The learning rates of "
            f"lr_scheduler {self.config.lr_scheduler.type} depend on the length, and {self.step} steps are done: "
            f"the rate of step {different + 1} was {rates}. Continue with the old length, or branch off:\n"
            f"  {fork_command(arguments, self.folder)}\n"
            f"A branch keeps these steps and follows the new schedule after them: the learning rate goes from "
            f"{last:.3g} to {following:.3g}, and ends as in a run of {self.now} steps"
        )

    def _compared(self) -> range:
        return range(0, self.step, max(1, self.step // _COMPARED_STEPS))
