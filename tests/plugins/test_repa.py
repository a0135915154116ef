"""repa: the loss against a plain reference in double precision, and features against those of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from builders import tiny_clip_pair, tiny_dinov2
from tiny_parts import CPU
from torch import Tensor, nn

from dit_run.assembly.objectives import ActiveObjective
from dit_run.compute.precision import Precision
from dit_run.hub import Pretrained
from dit_run.model.codec import encode_latents
from dit_run.problems import InputError
from dit_run.protocols import Scheduler, TextStates
from dit_run.registry.registry import discover
from dit_run.training.step import EncodedBatch
from dit_run.training.step_loss import StepLoss
from dit_run_plugins.objectives.image_features import ImageFeatures
from dit_run_plugins.objectives.repa import Repa
from dit_run_plugins.objectives.repa.objective import RepaLoss, build

TAPS = {f"blocks.{index}": 6 for index in range(8)}


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dinov2(tmp_path_factory.mktemp("dino"))


def features_of(folder: Path, factor: int = 4) -> ImageFeatures:
    return ImageFeatures(Pretrained(str(folder), "objective"), factor)


def images(count: int = 3, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def made(folder: Path, **options: Any) -> RepaLoss:
    torch.manual_seed(0)
    options = {"projector_width": 7, "pretrained_model_name": str(folder), **options}
    return build(Repa(**options), device=CPU, taps=TAPS, token_size=4)


class Tapped(nn.Module):
    """A model of a convolution, whose states are at its patches of four pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Any, taps: Any) -> tuple[Tensor, dict[str, Tensor]]:
        states = torch.tanh(self.convolution(noisy)) * (1 + timesteps / 1000)[:, None, None, None]
        return noisy * states.mean(), dict.fromkeys(taps, states)


def test_the_gradient_is_that_of_a_plain_reference(dino: Path) -> None:
    objective = made(dino)
    objective.trained.double()
    process = scheduler()
    clean, noise = images(5).double(), images(10).double()[5:]
    uniform = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    features = torch.randn(5, 16, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    model = Tapped().double()
    text = TextStates(*(torch.zeros(5) for _ in range(4)))
    given = EncodedBatch(clean, noise, uniform, text, features={"repa": features})
    parameters = [*model.parameters(), *objective.trained.parameters()]
    loss = StepLoss(model, [ActiveObjective("repa", objective)], Precision("cpu", None))(given, process, 0)[0]
    ours = torch.autograd.grad(loss.mean(), parameters)

    timesteps = process.timesteps(uniform)
    _, states = model(process.add_noise(clean, noise, timesteps), timesteps, None, ["blocks.2"])
    total = torch.zeros((), dtype=torch.float64)
    for index in range(5):
        for row in range(2):
            for column in range(3):
                value = states["blocks.2"][index, :, row, column]
                for layer in objective.trained.layers:
                    value = layer(value)
                target = features[index, :, row, column]
                total = total + 1 - (value @ target) / (value.norm() * target.norm())
    theirs = torch.autograd.grad(total / 30, parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def scheduler() -> Scheduler:
    from dit_run.registry.factories import make

    component = discover(third_party=False).component("scheduler", "flow_matching")  # type: ignore[arg-type]
    return make(component, component.options(), latent_shape=(3, 8, 12))  # type: ignore[no-any-return]


def test_features_are_the_patches_of_the_model_for_a_resized_image(dino: Path) -> None:
    from transformers import Dinov2Model

    resized = F.interpolate(images(), (28, 42), mode="bicubic", antialias=True)
    model = Dinov2Model.from_pretrained(dino).eval()
    with torch.no_grad():
        states = model(((resized + 1) / 2 - 0.5) / 0.25).last_hidden_state
    expected = states[:, 1:].view(3, 2, 3, 16).permute(0, 3, 1, 2)
    encoder = features_of(dino)
    assert (encoder.latent_channels, encoder.factor) == (16, 4)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode(images())[0], expected)


@pytest.mark.parametrize("make", [tiny_dinov2, tiny_clip_pair])
def test_an_image_has_the_same_features_alone_and_in_a_batch(make: Callable[[Path], Path], tmp_path: Path) -> None:
    encoder = features_of(make(tmp_path))
    pixels = ((images() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    together, _ = encode_latents(encoder, pixels)
    assert together.shape == (3, encoder.latent_channels, 2, 3)
    torch.testing.assert_close(encode_latents(encoder, pixels[1:2])[0], together[1:2])


def test_a_network_of_convolutions_is_averaged_to_the_positions(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path)
    encoder = features_of(tmp_path, factor=16)
    with torch.no_grad():
        assert encoder.encode(images(2, 64, 32))[0].shape == (2, 8, 4, 2)


def test_other_files_or_another_grid_have_another_fingerprint(dino: Path, tmp_path: Path) -> None:
    prints = {features_of(dino).fingerprint(), features_of(dino, 8).fingerprint()}
    prints.add(features_of(tiny_dinov2(tmp_path, seed=1)).fingerprint())
    assert len(prints) == 3
    assert features_of(dino).fingerprint() in prints


def test_the_default_tap_is_at_a_third_of_the_depth(dino: Path) -> None:
    assert made(dino).taps == ("blocks.2",)
    assert made(dino, tap="blocks.7").taps == ("blocks.7",)
    with pytest.raises(InputError, match=r"reads states inside the model \(blocks\.8\), which offers blocks\.0, "):
        made(dino, tap="blocks.8")


def test_a_folder_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    from text_models import tiny_text_model

    tiny_text_model(tmp_path, "t5")
    with pytest.raises(InputError, match="is not a vision model"):
        features_of(tmp_path)
