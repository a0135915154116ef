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


class NonFiniteLoss(DitRunError):
    """The loss or gradient was not finite more often in a row than the config allows."""

    def __init__(self, step: int, loss: float, grad_norm: float, keys: tuple[str, ...], advice: str = "") -> None:
        self.report = {"step": step, "loss": str(loss), "grad_norm": str(grad_norm), "samples": list(keys)}
        """Plain values for a report; the step counts from 1."""
        super().__init__(
            f"step {step}: the loss is {loss:g} and the gradient norm {grad_norm:g}; nothing was updated or saved. "
            f"Its samples: {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}{advice}"
        )


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
    """True with a loss scale (fp16): finding it takes gradients that are not finite, so only the loss counts."""
    notice: Callable[[str], None]
    advice: str = ""
    """End of the error: how to continue."""
    in_a_row: int = 0
    """Number of such steps in a row at present."""
    _unread: deque[_Step] = field(default_factory=deque)

    def add(self, number: int, result: StepResult, micro_batches: Iterable[EncodedBatch]) -> None:
        """Add step ``number`` (from 1) and check all steps that are known without waiting. Raises NonFiniteLoss."""
        fault = Flag(~(result.loss.isfinite() if self.scaled else result.finite))
        keys = tuple(key for examples in micro_batches for key in examples.keys)
        self._unread.append(_Step(number, fault, result, keys))
        while len(self._unread) > fault.late:
            self._check(self._unread.popleft())

    def settle(self) -> None:
        """Check all steps so far. Raises NonFiniteLoss."""
        while self._unread:
            self._check(self._unread.popleft())

    def _check(self, step: _Step) -> None:
        self.in_a_row = self.in_a_row + 1 if step.fault else 0
        if not self.in_a_row:
            return
        if self.in_a_row <= self.allowed:
            self.notice(f"step {step.number}: loss or gradient is not finite; the update is skipped")
            return
        raise NonFiniteLoss(step.number, step.result.loss.item(), step.result.grad_norm.item(), step.keys, self.advice)
