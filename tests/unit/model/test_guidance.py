"""Guidance: one forward for both halves, by the papers' formulae."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dit_run.model.guidance import Guidance, combined, guided, rescaled
from dit_run.protocols import TextStates

NOISY = torch.arange(2 * 1 * 2 * 2, dtype=torch.float32).view(2, 1, 2, 2)


def states(value: float, *, null: bool) -> TextStates:
    return TextStates(
        torch.full((2, 3, 4), value),
        torch.ones(2, 3, dtype=torch.bool),
        torch.full((2, 4), value),
        torch.tensor([null] * 2),
    )


TEXT, EMPTY = states(2.0, null=False), states(1.0, null=True)


class Model:
    """Adds the mean of a caption's states to its latents, and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[bool]]] = []

    def __call__(self, noisy: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        self.calls.append((len(noisy), len(timesteps), text.null.tolist()))
        return noisy + text.tokens.mean((1, 2)).view(-1, 1, 1, 1)


def at(timestep: float) -> Tensor:
    return torch.full((2,), timestep)


def test_both_halves_go_through_one_forward() -> None:
    model = Model()
    output = guided(model, TEXT, EMPTY, Guidance(4.0))(NOISY, at(500))
    assert model.calls == [(4, 4, [False, False, True, True])]
    assert torch.equal(output, NOISY + 1 + 4 * (2 - 1))


def test_timesteps_are_read_only_where_guidance_depends_on_them() -> None:
    class Unread(Tensor):
        def __float__(self) -> float:
            raise AssertionError("a timestep was read")

    timesteps = at(500).as_subclass(Unread)
    guided(Model(), TEXT, EMPTY, Guidance(4.0))(NOISY, timesteps)
    with pytest.raises(AssertionError):
        guided(Model(), TEXT, EMPTY, Guidance(4.0, interval=(0.0, 0.5)))(NOISY, timesteps)


def test_scale_one_asks_for_the_captions_alone() -> None:
    model = Model()
    assert not Guidance(1.0).active
    output = guided(model, TEXT, None, Guidance(1.0))(NOISY, at(500))
    assert model.calls == [(2, 2, [False, False])]
    assert torch.equal(output, NOISY + 2)


def test_scale_zero_is_the_output_without_captions() -> None:
    assert torch.equal(guided(Model(), TEXT, EMPTY, Guidance(0.0))(NOISY, at(500)), NOISY + 1)


@pytest.mark.parametrize(("timestep", "works"), [(199.0, False), (200.0, True), (800.0, True), (801.0, False)])
def test_outside_its_interval_guidance_costs_nothing(timestep: float, works: bool) -> None:
    model = Model()
    guided(model, TEXT, EMPTY, Guidance(4.0, interval=(0.2, 0.8)))(NOISY, at(timestep))
    assert model.calls[0][0] == (4 if works else 2)


def test_the_whole_interval_holds_both_ends() -> None:
    assert Guidance(2.0).covers(0.0)
    assert Guidance(2.0).covers(1000.0)


def test_the_output_has_the_type_of_the_latents() -> None:
    def model(noisy: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        return noisy.to(torch.bfloat16)

    for empty, guidance in (
        (EMPTY, Guidance(3.0, 0.5)),
        (EMPTY, Guidance(3.0, interval=(0.9, 1.0))),
        (None, Guidance()),
    ):
        assert guided(model, TEXT, empty, guidance)(NOISY, at(500)).dtype == torch.float32


def test_combined_goes_beyond_the_conditional_output() -> None:
    assert combined(torch.tensor(3.0), torch.tensor(1.0), 2.5).item() == 1 + 2.5 * 2


def test_rescaling_brings_back_the_standard_deviation_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    conditional = torch.randn(3, 4, 8, 8, generator=generator)
    output = torch.randn(3, 4, 8, 8, generator=generator) * torch.tensor([2.0, 5.0, 0.5]).view(3, 1, 1, 1)
    full = rescaled(output, conditional, 1.0)
    torch.testing.assert_close(full.std((1, 2, 3)), conditional.std((1, 2, 3)))
    torch.testing.assert_close(rescaled(output, conditional, 0.7), 0.7 * full + 0.3 * output)
    assert rescaled(output, conditional, 0.0) is output


def test_rescaling_an_output_without_spread_leaves_it() -> None:
    zeros = torch.zeros(1, 1, 2, 2)
    assert torch.equal(rescaled(zeros, zeros, 1.0), zeros)


def test_images_do_not_depend_on_their_neighbours() -> None:
    together = guided(Model(), TEXT, EMPTY, Guidance(4.0, 0.7))(NOISY, at(500))
    alone = guided(Model(), TextStates(*(p[1:] for p in TEXT)), TextStates(*(p[1:] for p in EMPTY)), Guidance(4.0, 0.7))
    torch.testing.assert_close(alone(NOISY[1:], at(500)[1:]), together[1:])
