"""The training step: gradients, clipping, precision, rates and randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_parts import CPU, Parts
from torch import Tensor, nn

from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.protocols import TextStates
from dit_run.training.step import EncodedBatch, Gradients, StepResult, TrainingStep
from dit_run.training.step_loss import StepLoss
from dit_run_plugins.objectives.denoising import DenoisingLoss


class Mixing(nn.Module):
    """A denoiser of one 3x3 matrix, 1 on its diagonal, between channels."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = nn.Linear(3, 3, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.eye_(self.channels.weight)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        return self.dropout(self.channels(noisy.movedim(1, -1))).movedim(-1, 1)


def examples(count: int, *, first: int = 0, scale: float = 1.0) -> EncodedBatch:
    """Those at ``count`` places, each a function of its place."""
    drawn = [torch.Generator().manual_seed(place) for place in range(first, first + count)]
    latents, noise = (torch.stack([scale * torch.randn(3, 4, 4, generator=g) for g in drawn]) for _ in range(2))
    uniform = torch.stack([torch.rand((), generator=g) for g in drawn])
    mask = torch.ones(count, 1, dtype=torch.bool)
    text = TextStates(torch.zeros(count, 1, 8), mask, torch.zeros(count, 8), ~mask[:, 0])
    return EncodedBatch(latents, noise, uniform, text)


DENOISING = (ActiveObjective("denoising", DenoisingLoss()),)
Make = Callable[..., tuple[TrainingStep, nn.Module]]


@pytest.fixture
def make(parts: Parts) -> Make:
    """A step with plain gradient descent at a rate of 1, and its denoiser."""

    def build(
        denoiser: nn.Module | None = None, *, accumulation: int = 1, dtype: torch.dtype | None = None, **changes: Any
    ) -> tuple[TrainingStep, nn.Module]:
        denoiser = denoiser or Mixing()
        settings: dict[str, Any] = {
            "optimizer": torch.optim.SGD(denoiser.parameters(), lr=1.0),
            "learning_rate_factor": lambda step: 1.0,
            "max_grad_norm": None,
        }
        step = TrainingStep(
            forward=StepLoss(denoiser, DENOISING, Precision("cpu", dtype)),
            scheduler_of=lambda shape: parts.scheduler,
            precision=Precision("cpu", dtype),
            seed=0,
            gradients=Gradients(accumulation),
            **{**settings, **changes},
        )
        return step, denoiser

    return build


def weight(denoiser: nn.Module) -> Tensor:
    return denoiser.channels.weight.detach().clone()  # type: ignore[union-attr, operator]


def update(
    made: tuple[TrainingStep, nn.Module], *micro_batches: EncodedBatch, step: int = 0
) -> tuple[StepResult, Tensor]:
    """The outcome of one step and what it added to the weight."""
    before = weight(made[1])
    outcome = made[0].run(step, micro_batches, count=len(micro_batches))
    return outcome, weight(made[1]) - before


def test_two_micro_batches_of_four_are_one_batch_of_eight(make: Make) -> None:
    whole, by_whole = update(make(), examples(8))
    parts, by_parts = update(make(accumulation=2), examples(4), examples(4, first=4))
    torch.testing.assert_close(by_parts, by_whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.loss, whole.loss)
    torch.testing.assert_close(parts.grad_norm, whole.grad_norm)


def test_gradients_do_not_carry_over_to_the_next_step(make: Make) -> None:
    frozen = make(learning_rate_factor=lambda step: 0.0)
    first, _ = update(frozen, examples(4))
    again, _ = update(frozen, examples(4), step=1)
    assert again.grad_norm == first.grad_norm


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_clipped_to_the_norm(make: Make, fused: bool) -> None:
    denoiser = Mixing()
    optimizer = torch.optim.SGD(denoiser.parameters(), lr=1.0, fused=fused)
    outcome, by = update(make(denoiser, optimizer=optimizer, max_grad_norm=0.25), examples(4))
    assert outcome.grad_norm > 0.25
    assert by.norm().item() == pytest.approx(0.25, rel=1e-4)


def test_a_gradient_within_the_norm_stays(make: Make) -> None:
    _, free = update(make(), examples(4))
    _, clipped = update(make(max_grad_norm=1e6), examples(4))
    assert torch.equal(free, clipped)


def test_the_loss_is_the_mean_squared_error_of_the_target(make: Make, parts: Parts) -> None:
    drawn = examples(4)
    timesteps = parts.scheduler.timesteps(drawn.uniform)
    noisy = parts.scheduler.add_noise(drawn.latents, drawn.noise, timesteps)
    target = parts.scheduler.target(drawn.latents, drawn.noise, timesteps)
    expected = ((noisy - target).square().mean((1, 2, 3)) * parts.scheduler.weight(timesteps)).mean()
    outcome, _ = update(make(), drawn)
    torch.testing.assert_close(outcome.loss, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_updates_nothing(make: Make, value: float) -> None:
    drawn = examples(4)
    outcome, by = update(make(), replace(drawn, noise=torch.full_like(drawn.noise, value)))
    assert not outcome.finite
    assert not by.any()


def test_each_step_has_the_rate_of_its_closed_form(make: Make) -> None:
    denoiser = nn.ModuleDict({"channels": nn.Linear(3, 3), "other": nn.Linear(3, 3)})
    groups = [{"params": denoiser["channels"].parameters(), "lr": 0.5}, {"params": denoiser["other"].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=2.0)
    step, _ = make(Mixing(), optimizer=optimizer, learning_rate_factor=lambda step: 1 / (1 + step))
    for index in (0, 1, 5, 2):
        step.run(index, [examples(2)], count=1)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5 / (1 + index), 2.0 / (1 + index)]
        assert step.learning_rate(index) == 0.5 / (1 + index)


def test_fp16_scales_the_loss_and_learns_what_fp32_learns(make: Make) -> None:
    half = make(dtype=torch.float16)
    assert half[0].scaler.is_enabled()
    outcome, by_half = update(half, examples(8))
    _, by_full = update(make(), examples(8))
    assert outcome.finite
    torch.testing.assert_close(by_half, by_full, rtol=0.02, atol=2e-3)


def test_fp16_overflow_skips_the_update_and_lowers_the_scale(make: Make) -> None:
    half = make(dtype=torch.float16)
    scale = half[0].scaler.get_scale()
    outcome, by = update(half, examples(4, scale=1e4))
    assert outcome.loss.isfinite()
    assert not outcome.finite
    assert not by.any()
    assert half[0].scaler.get_scale() == scale / 2


def test_bf16_needs_no_scale_and_keeps_weights_in_fp32(make: Make) -> None:
    step, denoiser = make(dtype=torch.bfloat16)
    assert not step.scaler.is_enabled()
    update((step, denoiser), examples(4))
    assert weight(denoiser).dtype == torch.float32


def dropped(make: Make, *, step: int = 0, first_index: int = 0, noise_before: int = 0) -> Tensor:
    """What one step adds under dropout."""
    training, denoiser = make(Mixing(dropout=0.5))
    torch.manual_seed(noise_before)
    before = weight(denoiser)
    training.run(step, [examples(4)], count=1, first_index=first_index)
    return weight(denoiser) - before


def test_dropout_depends_on_step_and_micro_batch_alone(make: Make) -> None:
    assert torch.equal(dropped(make), dropped(make, noise_before=7))
    assert not torch.equal(dropped(make), dropped(make, step=1))
    assert not torch.equal(dropped(make), dropped(make, first_index=1))


def test_the_precision_of_a_config_is_that_of_autocast() -> None:
    assert [Precision.of(name, CPU).dtype for name in ("no", "bf16", "fp16")] == [None, torch.bfloat16, torch.float16]
