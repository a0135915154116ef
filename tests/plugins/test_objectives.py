"""The built-in objectives, against plain references in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dit_run import load_config
from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.problems import ConfigError
from dit_run.protocols import ModelOutput, NoisyBatch, Scheduler, TextStates
from dit_run.registry.factories import make
from dit_run.registry.registry import discover
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import StepLoss
from dit_run_plugins.objectives.contrastive import ContrastiveLoss
from dit_run_plugins.objectives.denoising import DenoisingLoss

COUNT = 5
SHARE = 0.3


class Tiny(nn.Module):
    """A model of a convolution and a factor that depends on time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Any) -> Tensor:
        return torch.tanh(self.convolution(noisy)) * (1 + timesteps / 1000)[:, None, None, None]


def scheduler(kind: str, **options: Any) -> Scheduler:
    component = discover(third_party=False).component("scheduler", kind)  # type: ignore[arg-type]
    return make(component, component.options(**options), latent_shape=(3, 4, 4))  # type: ignore[no-any-return]


SCHEDULERS = [
    pytest.param(lambda: scheduler("flow_matching"), id="velocity"),
    pytest.param(lambda: scheduler("flow_matching", prediction_type="sample"), id="sample"),
    pytest.param(lambda: scheduler("ddpm", min_snr_gamma=5.0), id="epsilon"),
]


def examples() -> EncodedBatch:
    generator = torch.Generator().manual_seed(1)
    latents, noise = (torch.randn(COUNT, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    uniform = torch.rand(COUNT, generator=generator, dtype=torch.float64)
    text = TextStates(*(torch.zeros(COUNT) for _ in range(4)))
    return EncodedBatch(latents, noise, uniform, text)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def of_objective(objective: Any, process: Scheduler) -> list[Tensor]:
    model = Tiny().double()
    loss = StepLoss(model, [ActiveObjective("tested", objective)], Precision("cpu", None))
    return gradients(model, loss(examples(), process, 0)[0].mean())


def of_reference(process: Scheduler, share: float) -> list[Tensor]:
    """The gradient of the loss as it is written in the paper, sample by sample."""
    model, drawn = Tiny().double(), examples()
    timesteps = process.timesteps(drawn.uniform)
    noisy = process.add_noise(drawn.latents, drawn.noise, timesteps)
    output = model(noisy, timesteps, None)
    total = torch.zeros((), dtype=torch.float64)
    for index in range(COUNT):
        other, one = (index - 1) % COUNT, slice(index, index + 1)
        weight = process.weight(timesteps)[index]
        own = process.target(drawn.latents[one], drawn.noise[one], timesteps[one])
        negative = process.target(drawn.latents[[other]], drawn.noise[[other]], timesteps[one])
        total = total + weight * ((output[one] - own) ** 2).mean()
        total = total - share * weight * ((output[one] - negative) ** 2).mean()
    return gradients(model, total / COUNT)


@pytest.mark.parametrize("process", SCHEDULERS)
@pytest.mark.parametrize(
    ("objective", "share"), [(DenoisingLoss(), 0.0), (ContrastiveLoss(SHARE), SHARE)], ids=["denoising", "contrastive"]
)
def test_the_gradient_is_that_of_a_plain_reference(
    objective: Any, share: float, process: Callable[[], Scheduler]
) -> None:
    for ours, theirs in zip(of_objective(objective, process()), of_reference(process(), share), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def noisy_batch() -> NoisyBatch:
    process, drawn = scheduler("flow_matching"), examples()
    timesteps = process.timesteps(drawn.uniform)
    noisy = process.add_noise(drawn.latents, drawn.noise, timesteps)
    target = process.target(drawn.latents, drawn.noise, timesteps)
    return NoisyBatch(process, drawn.latents, drawn.noise, timesteps, noisy, target)


def test_contrastive_is_least_at_its_closed_form() -> None:
    batch = noisy_batch()
    best = ((batch.target - SHARE * batch.target.roll(1, 0)) / (1 - SHARE)).requires_grad_()
    loss = ContrastiveLoss(SHARE)(batch, lambda *given: ModelOutput(best))
    (gradient,) = torch.autograd.grad(loss.samples.mean(), best)
    assert gradient.abs().max() < 1e-6
    value = -SHARE / (1 - SHARE) * (batch.target - batch.target.roll(1, 0)).square().mean((1, 2, 3))
    torch.testing.assert_close(loss.samples.double(), value, rtol=1e-5, atol=1e-6)


def test_contrastive_logs_both_distances() -> None:
    batch, output = noisy_batch(), torch.zeros(COUNT, 3, 4, 4)
    loss = ContrastiveLoss(SHARE)(batch, lambda *given: ModelOutput(output))
    own, distance = loss.parts["denoising"], loss.parts["distance"]
    torch.testing.assert_close(own.double(), batch.target.square().mean((1, 2, 3)), rtol=1e-5, atol=0)
    torch.testing.assert_close(distance, own.roll(1, 0))
    torch.testing.assert_close(loss.samples, own - SHARE * distance)


def test_contrastive_needs_two_samples(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("objective: {type: contrastive}\n")
    with pytest.raises(ConfigError, match=r"training\.batch_size is 1"):
        load_config(path, "training.batch_size=1")
    load_config(path, "training.batch_size=2")
