"""The training step: from micro-batches to one update of the weights."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dit_run.compute.devices import answers_at_once, seed_generators
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import local
from dit_run.model.conditioning import Text
from dit_run.protocols import LearningRateFactor, SchedulerOf
from dit_run.training.evaluation_weights import start_training
from dit_run.training.step_timer import StepTimer

__all__ = [
    "EncodedBatch",
    "Gradients",
    "StepResult",
    "TrainingStep",
    "seed_dropout",
    "update_where",
]


@dataclass(frozen=True)
class EncodedBatch:
    """A micro-batch on the device, with all its random draws."""

    latents: Tensor
    """float [n, c, h, w], clean."""
    noise: Tensor
    """float [n, c, h, w], standard normal."""
    uniform: Tensor
    """float [n] in [0, 1): decides the timestep."""
    text: Text
    keys: tuple[str, ...] = ()
    """Keys of the samples, to name them in a report."""
    parts: Tensor | None = None
    """bool [p, n]: the samples of each of the p parts of a mixture; None without a mixture."""
    scalars: Tensor | None = None
    """float [n, k]: the numbers of each sample that the model takes; None if it takes none."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """float [n, d, rows, columns]: outputs of the frozen networks of objectives, by the objectives' names."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of the latents of a sample."""
        _, channels, height, width = self.latents.shape
        return channels, height, width


@dataclass(frozen=True)
class StepResult:
    """The result of one optimizer step, as tensors on the device: reading them waits for the device."""

    losses: Tensor
    """Means over all micro-batches of all processes: the loss; for each part of a mixture, the sum of the losses of its
    samples and their number; the values of the objectives, and for each 1 where it was computed, [1 + 2p + 2q]."""
    grad_norm: Tensor
    """Norm of the averaged gradient before clipping."""
    finite: Tensor
    """bool: the loss and the gradient are finite. If False, nothing was updated."""

    @property
    def loss(self) -> Tensor:
        """Mean over all micro-batches of all processes."""
        return self.losses[0]


class Gradients:
    """The reduction of the gradients of a step's micro-batches to one: here, autograd adds those of one process."""

    def __init__(self, accumulation: int) -> None:
        self.divisor = accumulation
        """Divisor of the loss of each micro-batch."""

    def micro_batch(self, index: int, last: bool) -> contextlib.AbstractContextManager[object]:
        """Return a context around forward and backward of this process's micro-batch ``index``."""
        return contextlib.nullcontext()

    def finish(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make every ``parameter.grad`` the mean over all micro-batches of all processes, after the last one."""

    def mean(self, values: Sequence[Tensor]) -> Tensor:
        """Return the mean over all micro-batches of all processes, from this one's values: the same bits in each."""
        return torch.stack(list(values)).mean(0)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm of finished gradients together: the same bits in each process."""
        return torch.nn.utils.get_total_norm(gradients, foreach=True)


class TrainingStep:
    """Forward, backward, clipping and update; accumulates gradients over micro-batches.

    ``forward`` is the :class:`~dit_run.training.step_loss.StepLoss` or a wrapper of it (DistributedDataParallel).
    """

    def __init__(
        self,
        *,
        forward: nn.Module,
        scheduler_of: SchedulerOf,
        optimizer: torch.optim.Optimizer,
        learning_rate_factor: LearningRateFactor,
        precision: Precision,
        max_grad_norm: float | None,
        seed: int,
        gradients: Gradients,
        timer: StepTimer | None = None,
    ) -> None:
        self.forward = forward
        self.scheduler_of = scheduler_of
        self.optimizer = optimizer
        self.precision = precision
        self.scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.dtype is torch.float16)
        self.updating = False
        """True from the begin of an update, until the loop counts the step and sets it to False."""
        self._factor = learning_rate_factor
        self._peak_rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self._max_grad_norm = max_grad_norm
        self._seed = seed
        self._gradients = gradients
        self._timer = timer or StepTimer()
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        start_training(optimizer)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of update ``step`` for the first parameter group."""
        return float(self._peak_rates[0] * self._factor(step))

    def run(
        self, step: int, micro_batches: Iterable[EncodedBatch], *, count: int, first_index: int = 0, stride: int = 1
    ) -> StepResult:
        """Do update ``step`` (from 0) with ``count`` micro-batches.

        ``first_index`` is the first one's global index, ``stride`` the distance of each from the one before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        for index, examples in enumerate(micro_batches):
            seed_dropout(self._seed, step, first_index + index * stride, examples.latents.device)
            with self._gradients.micro_batch(index, last=index == count - 1):
                with self._timer.phase("forward"):
                    scheduler = self.scheduler_of(examples.shape)
                    of_samples, values = self.forward(examples, scheduler, step)
                    loss = of_samples.mean()
                with self._timer.phase("backward"):
                    self.scaler.scale(loss / self._gradients.divisor).backward()  # type: ignore[no-untyped-call]
            losses.append(torch.cat([_with_parts(loss.detach(), of_samples.detach(), examples.parts), values]))
        with self._timer.phase("optimizer"):
            return self._update(step, self._gradients.mean(losses))

    def _update(self, step: int, losses: Tensor) -> StepResult:
        self._gradients.finish(self._parameters)
        self.scaler.unscale_(self.optimizer)
        norm = self._gradients.norm([each.grad for each in self._parameters if each.grad is not None])
        finite = torch.isfinite(norm) & torch.isfinite(losses[0])
        for group, peak in zip(self.optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * self._factor(step)
        self.updating = True
        update_where(self.optimizer, finite, self._clip_divisor(norm))
        self.scaler.update()
        return StepResult(losses, norm, finite)

    def _clip_divisor(self, norm: Tensor) -> Tensor | None:
        """Return the divisor that clips gradients of this norm, or None without clipping.

        It may be 1 on devices that answer late, where asking whether to clip would wait for them.
        """
        if self._max_grad_norm is None or (answers_at_once(norm.device) and norm <= self._max_grad_norm):
            return None
        return (norm / self._max_grad_norm).clamp(min=1.0)


def _with_parts(loss: Tensor, of_samples: Tensor, parts: Tensor | None) -> Tensor:
    """Return the loss of a micro-batch and, for each part, the sum of the losses of its samples and their number."""
    if parts is None:
        return loss[None]
    return torch.cat([loss[None], (parts * of_samples).sum(1), parts.sum(1).to(loss.dtype)])


def update_where(optimizer: torch.optim.Optimizer, finite: Tensor, divisor: Tensor | None = None) -> None:
    """Update by gradients divided by ``divisor``, but not where ``finite`` (bool) is False.

    Fused optimizers divide and skip on the device, in the pass that updates. For others this process reads ``finite``
    first, which waits for the device.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        if bool(finite):
            _divide_gradients(optimizer, divisor)
            optimizer.step()
        return
    optimizer.grad_scale, optimizer.found_inf = divisor, (~finite).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]


def _divide_gradients(optimizer: torch.optim.Optimizer, divisor: Tensor | None) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if divisor is not None:
        torch._foreach_div_([local(each.grad) for each in parameters if each.grad is not None], divisor)


def seed_dropout(seed: int, step: int, micro_batch: int, device: torch.device) -> None:
    """Seed torch's generators for one micro-batch: training uses them for dropout alone."""
    digest = hashlib.blake2b(f"dropout {seed} {step} {micro_batch}".encode(), digest_size=4).digest()
    seed_generators(device, int.from_bytes(digest, "little"))
