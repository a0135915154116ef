"""The guard against losses and gradients that are not finite: it counts them without waiting for the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dit_run.compute.devices import Flag
from dit_run.problems import DitRunError
from dit_run.settings import TrainingOptions
from dit_run.training.step import EncodedBatch, StepResult

__all__ = ["NonFiniteGuard", "NonFiniteLoss", "continue_advice"]

_PATIENCE = 50
"""Number of steps without an update, or with a loss scale below 1, that end a run in fp16."""


class NonFiniteLoss(DitRunError):
    """The loss or gradient was not finite more often in a row than the config allows."""

    def __init__(self, step: int, told: str, keys: tuple[str, ...], advice: str = "", **values: str) -> None:
        self.report = {"step": step, **values, "samples": list(keys)}
        """Plain values for a report; the step counts from 1."""
        named = f". Its samples: {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}" if keys else ""
        super().__init__(f"step {step}: {told}{named}{advice}")


def continue_advice(training: TrainingOptions) -> str:
    """Return the settings with which a run may continue after a loss that is not finite."""
    rate = f"training.learning_rate={training.learning_rate / 2:g}"
    precision = "" if training.mixed_precision == "no" else ", in full precision with training.mixed_precision=no"
    return (
        f". Continue from the last checkpoint with a lower rate, such as {rate}{precision}, "
        f"or skip such steps with training.max_bad_steps={training.max_bad_steps + 1}"
    )


@dataclass(frozen=True)
class _Step:
    number: int
    fault: Flag
    skipped: Flag
    result: StepResult
    keys: tuple[str, ...]


@dataclass
class NonFiniteGuard:
    """Checks each step: on a CPU at once, on a GPU during the next step.

    A late check is safe: the device itself skips an update that is not finite.
    """

    allowed: int
    """Number of such steps in a row that do not end the run."""
    scaled: bool
    """True with a loss scale (fp16): finding it takes gradients that are not finite, so only the loss counts, and the
    gradients if they are not finite in 50 steps in a row or keep the scale below 1 for 50 steps."""
    notice: Callable[[str], None]
    advice: str = ""
    """End of the error: how to continue."""
    in_a_row: int = 0
    """Number of such steps in a row at present."""
    _skipped_in_a_row: int = 0
    _small_since: int | None = None
    _unread: deque[_Step] = field(default_factory=deque)

    def add(self, number: int, result: StepResult, micro_batches: Iterable[EncodedBatch]) -> None:
        """Add step ``number`` (from 1) and check all steps that are known without waiting. Raises NonFiniteLoss."""
        skipped = Flag(~result.finite)
        fault = Flag(~result.loss.isfinite()) if self.scaled else skipped
        keys = tuple(key for examples in micro_batches for key in examples.keys)
        self._unread.append(_Step(number, fault, skipped, result, keys))
        while len(self._unread) > fault.late:
            self._check(self._unread.popleft())

    def settle(self) -> None:
        """Check all steps so far. Raises NonFiniteLoss."""
        while self._unread:
            self._check(self._unread.popleft())

    def check_scale(self, step: int, scale: float) -> None:
        """Take the loss scale after a step. Raises NonFiniteLoss where it has been below 1 for 50 steps."""
        if scale >= 1:
            self._small_since = None
            return
        self._small_since = step if self._small_since is None else self._small_since
        if step - self._small_since >= _PATIENCE:
            raise NonFiniteLoss(
                step, f"the loss scale has been below 1 since step {self._small_since}", (), self.advice
            )

    def _check(self, step: _Step) -> None:
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if step.skipped else 0
        if self.scaled and self._skipped_in_a_row >= max(_PATIENCE, self.allowed + 1):
            raise NonFiniteLoss(
                step.number,
                f"no update in {self._skipped_in_a_row} steps, because no loss scale makes the gradients finite",
                step.keys,
                self.advice,
            )
        self.in_a_row = self.in_a_row + 1 if step.fault else 0
        if not self.in_a_row:
            return
        if self.in_a_row <= self.allowed:
            self.notice(f"step {step.number}: loss or gradient is not finite; the update is skipped")
            return
        loss, norm = step.result.loss.item(), step.result.grad_norm.item()
        told = f"the loss is {loss:g} and the gradient norm {norm:g}; nothing was updated or saved"
        raise NonFiniteLoss(step.number, told, step.keys, self.advice, loss=str(loss), grad_norm=str(norm))
