"""diffusers_transformer: classes of diffusers, called with the arguments of their pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from image_transformers import CONFIGS
from torch import Tensor

from dit_run.protocols import TextStates
from dit_run_plugins.models.diffusers_transformer import DiffusersTransformer
from dit_run_plugins.models.diffusers_transformer.families import FAMILIES
from dit_run_plugins.models.diffusers_transformer.network import DiffusersNetwork, build

pytest.importorskip("diffusers")
CHANNELS, WIDTH, POOLED, LENGTHS = 4, 12, 6, (5, 3)
LATENTS = torch.randn(2, CHANNELS, 8, 4, generator=torch.Generator().manual_seed(1))
TIMES = torch.tensor([250.0, 900.0])


def text(length: int = 5) -> TextStates:
    """States of two captions of 5 and 3 tokens; the padding has values that must not count."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.full((2, length, WIDTH), 9.0)
    for row, real in enumerate(LENGTHS):
        tokens[row, :real] = torch.randn(real, WIDTH, generator=generator)
    mask = torch.arange(length) < torch.tensor(LENGTHS)[:, None]
    return TextStates(tokens, mask, torch.randn(2, POOLED, generator=generator), torch.zeros(2, dtype=torch.bool))


def spread(states: TextStates) -> TextStates:
    """The same states as those of several encoders come: with padding before and between the tokens."""
    pad = torch.full((2, 2, WIDTH), 9.0)
    tokens = torch.cat([pad, states.tokens[:, :2], pad, states.tokens[:, 2:]], 1)
    off = torch.zeros(2, 2, dtype=torch.bool)
    mask = torch.cat([off, states.mask[:, :2], off, states.mask[:, 2:]], 1)
    return states._replace(tokens=tokens, mask=mask)


def make(name: str, *, seed: int = 0, **more: Any) -> DiffusersNetwork:
    torch.manual_seed(seed)
    options = DiffusersTransformer(class_name=name, config=CONFIGS[name], **more)
    model = build(options, latent_channels=CHANNELS, latent_factor=8, text_width=WIDTH, pooled_width=POOLED).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@torch.no_grad()
def run(model: DiffusersNetwork, states: TextStates, times: Tensor = TIMES, latents: Tensor = LATENTS) -> Tensor:
    output: Tensor = model(latents, times, states)
    return output


def filled(states: TextStates, length: int) -> Tensor:
    zeros = torch.zeros(2, length, WIDTH)
    for row, real in enumerate(LENGTHS):
        zeros[row, :real] = states.tokens[row, :real]
    return zeros


def z_image(module: Any, states: TextStates) -> Tensor:
    captions = [states.tokens[row, :real] for row, real in enumerate(LENGTHS)]
    output = module([each.unsqueeze(1) for each in LATENTS], (1000 - TIMES) / 1000, captions)[0]
    return -torch.stack([each.squeeze(1) for each in output])


DIRECT: Mapping[str, Callable[[Any, TextStates], Tensor]] = {
    "AuraFlowTransformer2DModel": lambda module, states: module(LATENTS, filled(states, 256), TIMES / 1000)[0],
    "Lumina2Transformer2DModel": lambda module, states: (
        -module(LATENTS, 1 - TIMES / 1000, states.tokens, states.mask)[0]
    ),
    "PixArtTransformer2DModel": lambda module, states: module(
        LATENTS, states.tokens, TIMES, encoder_attention_mask=states.mask
    )[0],
    "SD3Transformer2DModel": lambda module, states: module(LATENTS, filled(states, 333), states.pooled, TIMES)[0],
    "SanaTransformer2DModel": lambda module, states: module(
        LATENTS, states.tokens, TIMES * 0.5, encoder_attention_mask=states.mask
    )[0],
    "ZImageTransformer2DModel": z_image,
}
"""The call of each class as its pipeline makes it, and its prediction as a scheduler of diffusers gets it."""


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == set(DIRECT) == set(CONFIGS)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_prediction_is_that_of_the_class_called_directly(name: str) -> None:
    model, states = make(name), text()
    with torch.no_grad():
        expected = DIRECT[name](model.diffusers_module, states)
    assert expected.std() > 0
    assert torch.equal(run(model, states), expected[:, :CHANNELS])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("other", [text(9), spread(text())], ids=["longer", "between"])
def test_padding_changes_nothing(name: str, other: TextStates) -> None:
    model = make(name)
    if FAMILIES[name].text_length is not None and other.mask[0, 0] == 0:
        pytest.skip("the class knows tokens by their places alone")
    torch.testing.assert_close(run(model, other), run(model, text()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sample_depends_on_its_own_text_time_and_latents_alone(name: str) -> None:
    model, states = make(name), text()
    plain = run(model, states)
    changed = (
        run(model, states._replace(tokens=states.tokens + torch.tensor([0.0, 1.0])[:, None, None])),
        run(model, states, times=torch.tensor([250.0, 300.0])),
        run(model, states, latents=LATENTS + torch.tensor([0.0, 1.0])[:, None, None, None]),
    )
    for each in changed:
        torch.testing.assert_close(each[0], plain[0], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(each[1], plain[1], atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_trains(name: str) -> None:
    model = make(name).train()
    model(LATENTS, TIMES, text()).square().mean().backward()
    missing = [key for key, value in model.named_parameters() if value.grad is None]
    assert [key for key in missing if not key.endswith("pad_token")] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    plain, saving = (make(name, gradient_checkpointing=each).train() for each in (False, True))
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        model(LATENTS, TIMES, text()).square().mean().backward()
    for (key, first), (_, second) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None)
        if first.grad is not None:
            torch.testing.assert_close(first.grad, second.grad, msg=key)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_can_be_counted_without_weights(name: str) -> None:
    with torch.device("meta"):
        options = DiffusersTransformer(class_name=name, config=CONFIGS[name])
        model = build(options, latent_channels=CHANNELS, latent_factor=8, text_width=WIDTH, pooled_width=POOLED)
        states = TextStates(
            torch.empty(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool), torch.empty(2, POOLED), torch.ones(2)
        )
        assert model(torch.empty(LATENTS.shape), torch.empty(2), states).shape == LATENTS.shape
