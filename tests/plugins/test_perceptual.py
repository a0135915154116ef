"""perceptual: the loss and its gradient against a plain reference in double precision, and the configs it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders import tiny_dinov2
from torch import Tensor

from dit_run.hub import Pretrained
from dit_run.protocols import ModelOutput, NoisyBatch
from dit_run_plugins.objectives.image_features import ImageFeatures
from dit_run_plugins.objectives.perceptual import PerceptualLoss, sees_images


class Process:
    """A process whose output is the velocity on the straight path."""

    def to_x0(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return noisy - timesteps[:, None, None, None] / 1000 * output


def test_the_gradient_is_that_of_a_plain_reference(tmp_path: Path) -> None:
    network = ImageFeatures(Pretrained(str(tiny_dinov2(tmp_path)), "objective"), 4).double()
    drawn = torch.randn(4, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents, noise, noisy, output = drawn[0].clamp(-1, 1), drawn[1], drawn[2], drawn[3].requires_grad_()
    timesteps = torch.tensor([100.0, 500.0, 900.0], dtype=torch.float64)
    process: Any = Process()
    batch = NoisyBatch(process, latents, noise, timesteps, noisy, noise - latents)
    loss = PerceptualLoss(network)(batch, lambda *given: ModelOutput(output)).samples
    (ours,) = torch.autograd.grad(loss.sum(), output)

    total = torch.zeros((), dtype=torch.float64)
    for index in range(3):
        image = noisy[index] - timesteps[index] / 1000 * output[index]
        found, wanted = (network.encode(each[None])[0][0].flatten(1) for each in (image, latents[index]))
        for place in range(4):
            one, other = found[:, place], wanted[:, place].detach()
            total = total + (1 - one @ other / (one.norm() * other.norm())) / 4
    (theirs,) = torch.autograd.grad(total, output)
    torch.testing.assert_close(loss.sum().double(), total, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())


def context(*, factor: int | None = 1, normalize: str | None = None, predicts: str = "sample") -> Any:
    vae = SimpleNamespace(type="some", common=SimpleNamespace(normalize=normalize))
    config = SimpleNamespace(vae=vae, scheduler=SimpleNamespace(options=SimpleNamespace(prediction_type=predicts)))
    return SimpleNamespace(config=config, path=("objective", 1), facts=SimpleNamespace(latent_factor=factor))


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"factor": 8}, ("vae", "type")),
        ({"normalize": "data"}, ("vae", "type")),
        ({"predicts": "epsilon"}, ("scheduler", "prediction_type")),
    ],
)
def test_predictions_that_are_no_images_are_refused(settings: dict[str, Any], path: tuple[str, str]) -> None:
    (problem,) = sees_images(context(**settings))
    assert (problem.code, problem.path) == ("no-images-to-compare", path)


@pytest.mark.parametrize("settings", [{}, {"factor": None}, {"predicts": "velocity"}])
def test_images_in_pixel_space_fit(settings: dict[str, Any]) -> None:
    assert list(sees_images(context(**settings))) == []
