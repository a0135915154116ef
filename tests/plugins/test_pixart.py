"""pixart: diffusers' model behind our contract."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dit_run.model.denoiser import parameter_roles
from dit_run.problems import InputError
from dit_run.protocols import TextStates
from dit_run_plugins.models.pixart import Pixart
from dit_run_plugins.models.pixart.network import build

pytest.importorskip("diffusers")
SMALL = Pixart(hidden_size=32, num_layers=2, num_heads=4, in_channels=3, out_channels=3, sample_size=8)


def make(options: Pixart = SMALL, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build(options, latent_channels=3, latent_factor=8, text_width=12).eval()


def text(length: int = 5, count: int = 2) -> TextStates:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(count, 5, 12, generator=generator)
    mask = torch.ones(count, length, dtype=torch.bool)
    mask[:, 5:] = False
    padded = torch.cat([tokens, torch.full((count, length - 5, 12), 9.0)], 1)
    return TextStates(padded, mask, tokens.mean(1), torch.zeros(count, dtype=torch.bool))


def run(model: nn.Module, condition: TextStates, shape: tuple[int, int] = (8, 8), timestep: float = 500.5) -> Tensor:
    latents = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output: Tensor = model(latents, torch.full((2,), timestep), condition)
    return output


@pytest.mark.parametrize("shape", [(8, 8), (4, 8), (16, 6)])
def test_the_prediction_has_the_shape_of_the_latents_at_any_size(shape: tuple[int, int]) -> None:
    assert run(make(), text(), shape).shape == (2, 3, *shape)


def test_captions_and_timesteps_reach_the_prediction() -> None:
    model, condition = make(), text()
    plain = run(model, condition)
    assert not torch.allclose(plain, run(model, condition, timestep=501.5))
    assert not torch.allclose(plain, run(model, condition._replace(tokens=condition.tokens + 1)))


def test_padding_of_captions_changes_nothing() -> None:
    model = make()
    torch.testing.assert_close(run(model, text(5)), run(model, text(9)), atol=1e-5, rtol=1e-5)


def test_every_parameter_takes_part() -> None:
    model = make()
    model(torch.randn(2, 3, 8, 8), torch.tensor([3.0, 900.0]), text()).square().mean().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []


def test_dropout_is_the_option_and_works_in_training_alone() -> None:
    model = make(replace(SMALL, dropout=0.5))
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.5}
    assert torch.equal(run(model, text()), run(model, text()))
    model.train()
    assert not torch.equal(run(model, text()), run(model, text()))


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    plain, saving = make(), make(replace(SMALL, gradient_checkpointing=True))
    for model in (plain, saving):
        model.train()
        model(torch.ones(2, 3, 8, 8), torch.tensor([3.0, 900.0]), text()).square().mean().backward()
    for (name, first), (_, second) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        assert first.grad is not None and second.grad is not None
        torch.testing.assert_close(first.grad, second.grad, msg=name)


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 64}, {"num_layers": 3}, {"num_heads": 2}, {"patch_size": 4}, {"sample_size": 4}],
    ids=lambda change: next(iter(change)),
)
def test_each_option_changes_the_model(change: dict[str, int]) -> None:
    changed = replace(SMALL, **change)  # type: ignore[arg-type]
    assert not torch.allclose(run(make(), text()), run(make(changed), text()))


def test_weights_of_blocks_are_matrices_and_the_rest_edges() -> None:
    roles = parameter_roles(make())
    assert roles["transformer.transformer_blocks.0.attn1.to_q.weight"] == "matrix"
    assert roles["transformer.proj_out.weight"] == "edge"
    assert roles["transformer.pos_embed.proj.weight"] == "edge"
    assert roles["transformer.scale_shift_table"] == "other"
    assert roles["transformer.proj_out.bias"] == "bias"


def test_a_copy_is_independent() -> None:
    model = make()
    copied = copy.deepcopy(model)
    before = run(copied, text())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(run(copied, text()), before)


def test_channels_that_are_not_those_of_the_latents_are_refused() -> None:
    with pytest.raises(InputError, match="in_channels is 3, but the VAE's latents have 4 channels"):
        build(SMALL, latent_channels=4, latent_factor=8, text_width=12)
