"""NonFiniteGuard: steps whose loss or gradient was not finite, told and counted without keeping the device waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dit_run.compute.devices import Flag
from dit_run.problems import DitRunError
from dit_run.training.step import EncodedBatch, StepResult

__all__ = ["BadLoss", "NonFiniteGuard"]


class BadLoss(DitRunError):
    """The loss or gradient was not finite more often in a row than the config allows."""

    def __init__(self, step: int, loss: float, grad_norm: float, keys: tuple[str, ...]) -> None:
        self.report = {"step": step, "loss": str(loss), "grad_norm": str(grad_norm), "samples": list(keys)}
        """Plain values: what to look at, the step counted from 1."""
        super().__init__(
            f"step {step}: the loss is {loss:g} and the gradient norm {grad_norm:g}; nothing was updated or saved. "
            f"Its samples: {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}. Try a lower training.learning_rate or "
            "mixed_precision: no"
        )


@dataclass(frozen=True)
class _Step:
    number: int
    fault: Flag
    outcome: StepResult
    keys: tuple[str, ...]


@dataclass
class NonFiniteGuard:
    """Judges each step: on a CPU at once, on a GPU while it works on the next one, whose update only a finite step can
    have changed, since the device itself skips the others."""

    allowed: int
    """How many faults in a row."""
    scaled: bool
    """A loss scale is being found (fp16): gradients that are not finite are part of it as long as the loss is."""
    notice: Callable[[str], None]
    in_a_row: int = 0
    _unread: deque[_Step] = field(default_factory=deque)

    def add(self, number: int, outcome: StepResult, micro_batches: Iterable[EncodedBatch]) -> None:
        """Take step ``number`` (from 1) and judge what can be judged without waiting. Raises BadLoss."""
        fault = Flag(~(outcome.loss.isfinite() if self.scaled else outcome.finite))
        keys = tuple(key for examples in micro_batches for key in examples.keys)
        self._unread.append(_Step(number, fault, outcome, keys))
        while len(self._unread) > fault.late:
            self._judge(self._unread.popleft())

    def settle(self) -> None:
        """Judge all steps so far. Raises BadLoss."""
        while self._unread:
            self._judge(self._unread.popleft())

    def _judge(self, step: _Step) -> None:
        self.in_a_row = self.in_a_row + 1 if step.fault else 0
        if not self.in_a_row:
            return
        if self.in_a_row <= self.allowed:
            self.notice(f"step {step.number}: loss or gradient is not finite; the update is skipped")
            return
        raise BadLoss(step.number, step.outcome.loss.item(), step.outcome.grad_norm.item(), step.keys)
