"""The validation loss: fixed examples, one timestep in each part of the distribution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_parts import CPU, Parts
from torch import Tensor, nn

from dit_run.compute.precision import Precision
from dit_run.model.codec import LatentShape
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder
from dit_run.training.validation import ValidationLoss, ValidationSet


def probe(parts: Parts, **changes: object) -> ValidationSet:
    made = ValidationSet(
        visits=Visits(parts.data.validation or parts.data.train, 5, LatentShape(3, 1), 0.0),
        count=7,
        bins=4,
        batch_size=3,
        scheduler_of=lambda shape: parts.scheduler,
        encoder=BatchEncoder(parts.encoders, CPU),
        precision=Precision("cpu", None),
    )
    return replace(made, **changes)


def test_the_mean_has_its_standard_error_and_parts() -> None:
    loss = ValidationLoss.of(torch.tensor([[1.0, 3.0], [3.0, 5.0]]))
    assert (loss.mean, loss.bins) == (3.0, (2.0, 4.0))
    assert loss.standard_error == pytest.approx(1.0)


def test_it_is_fixed(parts: Parts) -> None:
    torch.manual_seed(1)
    first = probe(parts).measure({"": parts.denoiser})
    torch.manual_seed(2)
    assert probe(parts).measure({"": parts.denoiser}) == first


def test_it_does_not_depend_on_the_batch_size(parts: Parts) -> None:
    losses = [probe(parts, batch_size=size).measure({"": parts.denoiser})[""] for size in (1, 3, 7, 20)]
    for loss in losses[1:]:
        assert loss.mean == pytest.approx(losses[0].mean, rel=1e-5)
        assert loss.bins == pytest.approx(losses[0].bins, rel=1e-5)


def test_denoisers_are_measured_on_the_same_examples(parts: Parts) -> None:
    measured = probe(parts).measure({"live": parts.denoiser, "averaged": parts.denoiser})
    assert measured["live"] == measured["averaged"]


class Recorder(nn.Module):
    """Remembers the timesteps it was asked for, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[Tensor] = []
        self.modes: set[bool] = set()

    def forward(self, noisy: Tensor, timesteps: Tensor, text: object) -> Tensor:
        self.timesteps.append(timesteps)
        self.modes.add(self.training)
        return noisy


def test_each_sample_is_seen_once_in_each_part_without_dropout(parts: Parts) -> None:
    recorder = Recorder().train()
    probe(parts, batch_size=7).measure({"": recorder})  # type: ignore[dict-item]
    borders = parts.scheduler.timesteps(torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2**-24]))
    assert [len(each) for each in recorder.timesteps] == [7, 7, 7, 7]
    for part, timesteps in enumerate(recorder.timesteps):
        assert ((timesteps >= borders[part]) & (timesteps <= borders[part + 1])).all()
    assert recorder.modes == {False}
    assert recorder.training
