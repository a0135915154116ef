"""Mean and standard deviation of latents by channel."""

from __future__ import annotations

import torch

from dit_run.training.latent_statistics import LatentStatistics


def latents(*channels: tuple[float, float]) -> torch.Tensor:
    """Latents whose channels have exactly these means and standard deviations."""
    signs = torch.tensor([1.0, -1.0]).repeat(8).view(1, 4, 4)
    return torch.cat([mean + deviation * signs for mean, deviation in channels]).expand(3, -1, -1, -1)


def test_each_channel_has_its_own_statistics() -> None:
    statistics = LatentStatistics.of(latents((0.25, 1.0), (-0.5, 1.5)))
    assert (statistics.mean, statistics.deviation) == ((0.25, -0.5), (1.0, 1.5))
    assert statistics.text == "mean 0.25 -0.50, standard deviation 1.00 1.50"
    assert statistics.warning() is None


def test_channels_that_are_far_from_normal_are_named() -> None:
    warning = LatentStatistics.of(latents((0.0, 1.0), (3.0, 1.0), (0.0, 4.0))).warning()
    assert warning is not None
    assert warning.startswith(
        "the latents of channels 1, 2 are far from mean 0 and standard deviation 1 (mean 0.00 3.00 0.00, "
    )


def test_one_channel_is_named_alone() -> None:
    warning = LatentStatistics.of(latents((0.0, 0.1), (0.0, 1.0))).warning()
    assert warning is not None and warning.startswith("the latents of channel 0 are far from mean 0")


def test_statistics_over_batches_are_those_of_all_values_with_their_posterior() -> None:
    first, second = torch.randn(3, 2, 4, 4), 3 + 2 * torch.randn(5, 2, 4, 4)
    found, whole = LatentStatistics.over([(first, None), (second, None)]), torch.cat([first, second])
    expected = LatentStatistics.of(whole)
    torch.testing.assert_close(torch.tensor(found.mean), torch.tensor(expected.mean))
    torch.testing.assert_close(torch.tensor(found.deviation), torch.tensor(expected.deviation))
    spread = LatentStatistics.over([(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2, 2), 1.5))])
    assert (spread.mean, spread.deviation) == ((0.0, 0.0), (1.5, 1.5))
