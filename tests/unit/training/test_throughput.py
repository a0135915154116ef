"""The throughput of a run: patches of images, and the share of a device's peak."""

from __future__ import annotations

import pytest
import torch

from dit_run.training.step import EncodedBatch
from dit_run.training.throughput import Throughput


def batch(count: int, height: int, width: int) -> EncodedBatch:
    latents = torch.zeros(count, 4, height, width)
    return EncodedBatch(latents=latents, noise=latents, uniform=torch.zeros(count), text=None)  # type: ignore[arg-type]


def test_patches_of_all_sizes_and_processes_count() -> None:
    throughput = Throughput(patch_size=2, processes=3)
    throughput.add([batch(5, 8, 8), batch(5, 4, 16)])
    throughput.add([batch(5, 8, 8)])
    assert throughput.read(2.0) == {"tokens_per_second": 3 * 15 * 16 / 2}
    assert throughput.read(2.0) == {"tokens_per_second": 0.0}


def test_the_share_of_the_peak_is_that_of_one_device() -> None:
    throughput = Throughput(patch_size=4, processes=8, flops_per_token=10.0, peak=1000.0)
    throughput.add([batch(2, 8, 8)])
    assert throughput.read(0.5) == {"tokens_per_second": 8 * 16.0, "share_of_peak": pytest.approx(16 * 10 / 1000)}
