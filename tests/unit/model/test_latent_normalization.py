"""The normalisation of latents by channel."""

from __future__ import annotations

import torch

from dit_run.model.latent_normalization import LatentNormalization


def normalization() -> LatentNormalization:
    made = LatentNormalization(3)
    made.set([1.0, -2.0, 0.0], [0.5, 4.0, 0.0])
    return made


def test_it_begins_as_the_identity() -> None:
    made, latents = LatentNormalization(3), torch.randn(2, 3, 4, 4)
    assert made.is_identity and not normalization().is_identity
    assert torch.equal(made(latents, None)[0], latents) and torch.equal(made.undone(latents), latents)


def test_each_channel_is_shifted_and_scaled_with_the_deviation_of_its_posterior() -> None:
    latents = torch.tensor([2.0, 2.0, 2.0]).view(1, 3, 1, 1)
    mean, deviation = normalization()(latents, torch.ones(1, 3, 1, 1))
    assert mean.flatten().tolist() == [2.0, 1.0, 2.0]
    assert deviation.flatten().tolist() == [2.0, 0.25, 1.0]


def test_it_is_undone() -> None:
    latents = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(normalization().undone(normalization()(latents, None)[0]), latents)


def test_values_of_python_come_back_exactly() -> None:
    made, other = LatentNormalization(2), LatentNormalization(2)
    made.set([0.1, 1 / 3], [1e-3, 7.7])
    other.set(made.mean.tolist(), made.deviation.tolist())
    assert torch.equal(made.mean, other.mean) and torch.equal(made.deviation, other.deviation)
