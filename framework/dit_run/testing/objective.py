"""The contract of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.protocols import ImageEncoder, NoisyBatch, ObjectiveLoss, TextStates
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, ContractError, Subject, check_all
from dit_run.testing.torch_modules import expect_tensor
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import StepLoss

__all__ = ["CHECKS", "check_objective"]

_COUNT, _SHAPE, _STEPS = 6, (3, 8, 8), 30
_TOKEN_SIZE, _WIDTH, _NAME = 4, 8, "checked"


def check_objective(component: Component | str | Path, **options: Any) -> None:
    """Test an objective with these options on a small network and latents [6, 3, 8, 8] of a straight path to noise.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the objective does.
    """
    check_all(Subject.of(Kind.OBJECTIVE, component, options), CHECKS)


class _Network(nn.Module):
    """A small network in place of a denoiser, with states of 2 x 2 positions that objectives can read."""

    taps: Mapping[str, int] = MappingProxyType({"states": _WIDTH})

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv2d(3, _WIDTH, 3, padding=1)
        self.output = nn.Conv2d(_WIDTH, 3, 3, padding=1)
        self.objective: nn.Module | None = None
        self.second_time = False

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        text: TextStates,
        taps: tuple[str, ...] = (),
        second_timesteps: Tensor | None = None,
    ) -> Any:
        if second_timesteps is not None:
            if not self.second_time:
                raise ContractError("it gives a second timestep; set its attribute second_time to True")
            timesteps = timesteps + 0.5 * (second_timesteps - timesteps)
        states = torch.tanh(self.input(noisy) * (1 + timesteps / 1000)[:, None, None, None])
        tapped = {name: nn.functional.avg_pool2d(states, _TOKEN_SIZE) for name in taps}
        return (self.output(states), tapped) if taps else self.output(states)


class _StraightPath:
    """The noise process x_t = (1 - t) x_0 + t noise, whose target is noise - x_0."""

    prediction_type = "velocity"
    samplers = ("euler",)

    def timesteps(self, uniform: Tensor) -> Tensor:
        return 1000 * uniform

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return torch.lerp(latents, noise, timesteps[:, None, None, None] / 1000)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return noise - latents

    def weight(self, timesteps: Tensor) -> Tensor:
        return torch.ones_like(timesteps)

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return noisy - timesteps[:, None, None, None] / 1000 * output

    def sample(self, predict: Any, noise: Tensor, **settings: Any) -> Tensor:
        raise NotImplementedError("an objective samples nothing")


def _examples(features: ImageEncoder | None = None) -> EncodedBatch:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(_COUNT, *_SHAPE, generator=generator) for _ in range(2))
    uniform = torch.rand(_COUNT, generator=generator)
    mask = torch.ones(_COUNT, 1, dtype=torch.bool)
    text = TextStates(torch.zeros(_COUNT, 1, 8), mask, torch.zeros(_COUNT, 8), ~mask[:, 0])
    encoded = {} if features is None else {_NAME: features.encode(latents.clamp(-1, 1))[0].detach()}
    return EncodedBatch(latents, noise, uniform, text, features=encoded)


class _Recorder:
    """The objective, which remembers its last result."""

    def __init__(self, subject: Subject) -> None:
        torch.manual_seed(2)
        self.objective = subject.make(device=torch.device("cpu"), taps=_Network.taps, token_size=_TOKEN_SIZE)
        subject.expect(
            callable(self.objective),
            f"the factory returned {type(self.objective).__name__}; return an object with a method __call__(batch, "
            "predict)",
        )
        self.trained: nn.Module | None = getattr(self.objective, "trained", None)
        self.parts: tuple[str, ...] = getattr(self.objective, "parts", ())
        self.taps: tuple[str, ...] = getattr(self.objective, "taps", ())
        self.features: ImageEncoder | None = getattr(self.objective, "features", None)
        self.given: NoisyBatch | None = None
        self.result: Any = None

    def __call__(self, batch: NoisyBatch, predict: Any) -> ObjectiveLoss:
        self.given, self.result = batch, self.objective(batch, predict)
        if not isinstance(self.result, ObjectiveLoss):
            return ObjectiveLoss(torch.zeros(_COUNT))  # the first check reports it
        return self.result


def _made(subject: Subject) -> tuple[_Recorder, StepLoss]:
    recorder = _Recorder(subject)
    torch.manual_seed(1)
    network = _Network()
    network.objective = recorder.trained
    network.second_time = getattr(recorder.objective, "second_time", False)
    return recorder, StepLoss(network, [ActiveObjective(_NAME, recorder)], Precision("cpu", None))


def _losses(recorder: _Recorder, loss: StepLoss) -> Tensor:
    torch.manual_seed(3)
    losses: Tensor = loss(_examples(recorder.features), _StraightPath(), 0)[0]
    return losses


def gives_a_loss_for_each_sample(subject: Subject) -> None:
    """Check that it returns an ObjectiveLoss with a float32 loss of each sample, and the parts that it names."""
    recorder, loss = _made(subject)
    subject.expect(
        isinstance(recorder.parts, tuple) and all(isinstance(name, str) for name in recorder.parts),
        f"its attribute parts is {recorder.parts!r}; set it to a tuple of names",
    )
    try:
        _losses(recorder, loss)
    except KeyError as error:
        subject.fail(f"it names the part {error}, and its result does not have it")
    result = recorder.result
    subject.expect(
        isinstance(result, ObjectiveLoss),
        f"it returned {type(result).__name__}; return a dit_run.protocols.ObjectiveLoss",
    )
    expect_tensor(subject, "the losses of 6 samples", result.samples, (_COUNT,), torch.float32)
    subject.expect(
        set(result.parts) == set(recorder.parts),
        f"its result has the parts {sorted(result.parts)}, and its attribute parts names {sorted(recorder.parts)}; let "
        "both have the same names",
    )
    for name, values in result.parts.items():
        subject.expect(isinstance(values, Tensor), f"part {name!r} is {type(values).__name__}; return a tensor [n]")


def trains_the_model(subject: Subject) -> None:
    """Check that gradients reach the model, and all weights that it trains itself."""
    recorder, loss = _made(subject)
    _losses(recorder, loss).mean().backward()  # type: ignore[no-untyped-call]
    model = [*loss.denoiser.input.parameters(), *loss.denoiser.output.parameters()]  # type: ignore[operator, union-attr]
    subject.expect(
        any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model),
        "no gradient reaches the model; compute the loss from predict(), and do not detach its output",
    )
    for name, parameter in recorder.trained.named_parameters() if recorder.trained is not None else ():
        subject.expect(
            parameter.dtype == torch.float32 and (not parameter.requires_grad or parameter.grad is not None),
            f"parameter {name!r} of its attribute trained is {parameter.dtype} and gets no gradient; train it in "
            "float32, or keep it out of trained",
        )


def lowers_its_loss(subject: Subject) -> None:
    """Check that 30 steps on one batch lower its mean."""
    recorder, loss = _made(subject)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    means = []
    for _ in range(_STEPS):
        optimizer.zero_grad()
        mean = _losses(recorder, loss).mean()
        mean.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        means.append(mean.item())
    subject.expect(
        means[-1] < means[0],
        f"after {_STEPS} steps its mean on one batch went from {means[0]:.4g} to {means[-1]:.4g}; check its sign, and "
        "that gradients reach the model",
    )


def repeats_itself(subject: Subject) -> None:
    """Check that the same micro-batch, weights and state of torch's generator give the same bytes."""
    one, other = _made(subject), _made(subject)
    first = _losses(*one)
    _losses(*other)
    subject.expect(
        torch.equal(first, _losses(*other)),
        "the same micro-batch gives another loss in another call; keep no state, and draw numbers from torch's own "
        "generator, which the core seeds for each micro-batch",
    )


def leaves_the_batch_as_it_is(subject: Subject) -> None:
    """Check that it changes none of the tensors that it gets."""
    recorder, loss = _made(subject)
    _losses(recorder, loss)
    given, fresh = recorder.given, _examples()
    assert given is not None
    expected = {
        "latents": fresh.latents,
        "noise": fresh.noise,
        "timesteps": 1000 * fresh.uniform,
        "noisy": _StraightPath().add_noise(fresh.latents, fresh.noise, 1000 * fresh.uniform),
        "target": fresh.noise - fresh.latents,
    }
    for name, value in expected.items():
        subject.expect(
            torch.equal(getattr(given, name), value), f"it changed batch.{name}, which others use; work on a copy"
        )


CHECKS: tuple[Check, ...] = (
    gives_a_loss_for_each_sample,
    trains_the_model,
    lowers_its_loss,
    repeats_itself,
    leaves_the_batch_as_it_is,
)
