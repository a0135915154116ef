"""The loss of a micro-batch: sums of objectives, shared predictions, and what is logged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import CPU, Parts, assembled
from torch import Tensor, nn

from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.protocols import NoisyBatch, ObjectiveLoss, PredictFor, Scheduler
from dit_run.registry.factories import PluginFault
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import StepLoss, denoising_loss
from dit_run_plugins.objectives.denoising import DenoisingLoss

FULL = Precision("cpu", None)


class Size:
    """The mean square of the output, and a part."""

    parts = ("mean",)

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        output = predict().output
        return ObjectiveLoss(output.square().mean((1, 2, 3)), {"mean": output.mean((1, 2, 3))})


class Twice:
    """The difference between predictions of noisy and of clean latents."""

    def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
        clean = predict(batch.latents, torch.zeros_like(batch.timesteps))
        return ObjectiveLoss((predict().output - clean.output).square().mean((1, 2, 3)))


class Counted(nn.Module):
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.calls = 0

    def forward(self, *given: Any) -> Tensor:
        self.calls += 1
        output: Tensor = self.denoiser(*given)
        return output


@pytest.fixture(scope="module")
def examples(parts: Parts) -> EncodedBatch:
    visits = Visits.of(parts.config, parts.data.train, parts.encoders)
    return BatchEncoder(parts.encoders, CPU)(visits.__getitems__(range(4)))


def objectives(*made: Any, **settings: Any) -> list[ActiveObjective]:
    return [ActiveObjective(type(each).__name__.lower(), each, alone=len(made) == 1, **settings) for each in made]


def losses(parts: Parts, examples: EncodedBatch, chosen: list[ActiveObjective], step: int = 0) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = StepLoss(parts.denoiser, chosen, FULL)(examples, parts.scheduler, step)
    return found


def test_denoising_alone_is_the_loss_of_validation_bit_for_bit(parts: Parts, examples: EncodedBatch) -> None:
    of_samples, values = losses(parts, examples, objectives(DenoisingLoss()))
    assert torch.equal(of_samples, denoising_loss(parts.denoiser, parts.scheduler, examples, FULL))
    assert values.tolist() == []


def test_objectives_are_summed_by_their_weights_and_logged_without_them(parts: Parts, examples: EncodedBatch) -> None:
    first, second = objectives(DenoisingLoss(), Size())
    total, values = losses(parts, examples, [replace(first, weight=2.0), replace(second, weight=0.5)])
    denoising, _ = losses(parts, examples, objectives(DenoisingLoss()))
    size, of_size = losses(parts, examples, objectives(Size()))
    torch.testing.assert_close(total, 2 * denoising + 0.5 * size)
    assert (*first.logged, *second.logged) == ("objective/denoisingloss", "objective/size", "objective/size/mean")
    expected = torch.cat([denoising.mean()[None], size.mean()[None], of_size[:1], torch.ones(3)])
    torch.testing.assert_close(values, expected.detach())


def test_an_objective_acts_from_its_first_step_up_to_its_end(parts: Parts, examples: EncodedBatch) -> None:
    always, later = objectives(DenoisingLoss(), Size())
    later = replace(later, start=2, end=4)
    counts = [losses(parts, examples, [always, later], step)[1][3:].tolist() for step in range(5)]
    assert counts == [[1, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 0, 0]]
    before, values = losses(parts, examples, [always, later], 1)
    assert torch.equal(before, losses(parts, examples, objectives(DenoisingLoss()))[0])
    assert values[1:3].tolist() == [0, 0]


def test_objectives_share_one_call_and_may_ask_for_more(parts: Parts, examples: EncodedBatch) -> None:
    counted = Counted(parts.denoiser)
    StepLoss(counted, objectives(DenoisingLoss(), Size(), Size()), FULL)(examples, parts.scheduler, 0)
    assert counted.calls == 1
    StepLoss(counted, objectives(Twice(), Size()), FULL)(examples, parts.scheduler, 0)
    assert counted.calls == 3


def test_a_second_call_has_the_captions_of_the_batch(parts: Parts, examples: EncodedBatch) -> None:
    of_samples, _ = losses(parts, examples, objectives(Twice()))
    scheduler: Scheduler = parts.scheduler
    timesteps = scheduler.timesteps(examples.uniform)
    noisy = scheduler.add_noise(examples.latents, examples.noise, timesteps)
    first = parts.denoiser(noisy, timesteps, examples.text)
    second = parts.denoiser(examples.latents, torch.zeros_like(timesteps), examples.text)
    torch.testing.assert_close(of_samples, (first - second).square().mean((1, 2, 3)))


def test_an_objective_may_give_a_second_timestep(tmp_path: Path) -> None:
    class Between:
        second_time = True

        def __init__(self, share: float) -> None:
            self.share = share

        def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
            output = predict(batch.noisy, batch.timesteps, second_timesteps=batch.timesteps * self.share).output
            return ObjectiveLoss(batch.denoising_loss(output))

    parts = assembled(tmp_path, "model.second_time=true")
    visits = Visits.of(parts.config, parts.data.train, parts.encoders)
    batch = BatchEncoder(parts.encoders, CPU)(visits.__getitems__(range(4)))
    found = [losses(parts, batch, objectives(Between(share)))[0] for share in (1.0, 0.5)]
    assert torch.equal(found[0], losses(parts, batch, objectives(DenoisingLoss()))[0])
    assert not torch.equal(found[0], found[1])


def test_losses_of_another_shape_are_a_fault_of_the_plugin(parts: Parts, examples: EncodedBatch) -> None:
    class Whole:
        def __call__(self, batch: NoisyBatch, predict: PredictFor) -> ObjectiveLoss:
            return ObjectiveLoss(predict().output.mean())

    with pytest.raises(PluginFault, match=r"objective whole returned losses of the shape \[\] for 4 samples"):
        losses(parts, examples, objectives(Whole()))
