"""Guided sampling: one forward for both predictions, scales of images, the interval and rescaling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dit_run.model.guided_prediction import (
    Forward,
    GuidanceSettings,
    guided,
    rescaled,
    unguided,
    with_empty,
    with_other,
    with_routed,
)
from dit_run.protocols import Guidance, GuidedStep, Predict, TextStates
from dit_run_plugins.schedulers.flow_matching import FlowMatching
from dit_run_plugins.schedulers.flow_matching.flow_process import build

SCHEDULER = build(FlowMatching(), latent_shape=(1, 2, 2))
ALL = slice(None)
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


def extrapolated(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    return weaker + step.scale * (caption - weaker)


def predicting(
    settings: GuidanceSettings, *, model: Forward | None = None, guidance: Guidance = extrapolated, rows: slice = ALL
) -> Predict:
    forward = model or Model()
    text, empty = (TextStates(*(part[rows] for part in each)) for each in (TEXT, EMPTY))
    both = with_empty(forward, text, empty)
    return guided(unguided(forward, text), both, guidance, settings, SCHEDULER)


def test_both_predictions_go_through_one_forward() -> None:
    model = Model()
    output = predicting(GuidanceSettings(4.0), model=model)(NOISY, at(500))
    assert model.calls == [(4, 4, [False, False, True, True])]
    assert torch.equal(output, NOISY + 1 + 4 * (2 - 1))


def test_timesteps_are_read_only_where_guidance_depends_on_them() -> None:
    class Unread(Tensor):
        def __float__(self) -> float:
            raise AssertionError("a timestep was read")

    timesteps = at(500).as_subclass(Unread)
    predicting(GuidanceSettings(4.0))(NOISY, timesteps)
    with pytest.raises(AssertionError):
        predicting(GuidanceSettings(4.0, interval=(0.0, 0.5)))(NOISY, timesteps)


def test_without_guidance_the_captions_go_through_alone() -> None:
    model = Model()
    assert torch.equal(unguided(model, TEXT)(NOISY, at(500)), NOISY + 2)
    assert model.calls == [(2, 2, [False, False])]


@pytest.mark.parametrize(
    ("settings", "active"),
    [
        (GuidanceSettings(), False),
        (GuidanceSettings((1.0, 1.0)), False),
        (GuidanceSettings((1.0, 2.0)), True),
        (GuidanceSettings(2.0, interval=(0.6, 0.4)), False),
    ],
)
def test_guidance_is_active_where_a_scale_is_not_one(settings: GuidanceSettings, active: bool) -> None:
    assert settings.active is active


def test_scale_zero_is_the_output_without_captions() -> None:
    assert torch.equal(predicting(GuidanceSettings(0.0))(NOISY, at(500)), NOISY + 1)


def test_each_image_has_its_scale() -> None:
    settings = GuidanceSettings((9.0, 3.0, 0.0)).of_images(1, 3)
    assert [settings.scale_of(0), settings.scale_of(1)] == [3.0, 0.0]
    expected = NOISY + torch.tensor([1 + 3.0, 1.0]).view(2, 1, 1, 1)
    assert torch.equal(predicting(settings)(NOISY, at(500)), expected)


def test_an_image_of_scale_one_next_to_others_is_not_guided() -> None:
    def zero(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
        return 0 * caption

    output = predicting(GuidanceSettings((3.0, 1.0)), guidance=zero)(NOISY, at(500))
    assert torch.equal(output[0], 0 * NOISY[0])
    assert torch.equal(output[1], NOISY[1] + 2)


@pytest.mark.parametrize(("timestep", "works"), [(199.0, False), (200.0, True), (800.0, True), (801.0, False)])
def test_outside_its_interval_guidance_costs_nothing(timestep: float, works: bool) -> None:
    model = Model()
    predicting(GuidanceSettings(4.0, interval=(0.2, 0.8)), model=model)(NOISY, at(timestep))
    assert model.calls[0][0] == (4 if works else 2)


def test_the_whole_interval_holds_both_ends() -> None:
    assert GuidanceSettings(2.0).covers(0.0)
    assert GuidanceSettings(2.0).covers(1000.0)


def test_a_guidance_knows_its_step_and_keeps_its_memory() -> None:
    seen: list[tuple[int, float, list[str]]] = []

    def remember(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
        assert step.noisy is NOISY
        assert step.scheduler is SCHEDULER
        seen.append((step.index, step.timesteps[0].item(), sorted(step.memory)))
        step.memory[f"call {step.index}"] = caption
        return caption

    predict = predicting(GuidanceSettings(2.0, interval=(0.0, 0.5)), guidance=remember)
    for timestep in (900.0, 500.0, 100.0):
        predict(NOISY, at(timestep))
    assert seen == [(1, 500.0, []), (2, 100.0, ["call 1"])]


def test_another_model_predicts_for_its_own_states_of_the_captions() -> None:
    strong, weak = Model(), Model()
    predict = guided(
        unguided(strong, TEXT),
        with_other(strong, TEXT, weak, EMPTY),
        extrapolated,
        GuidanceSettings(4.0, interval=(0.0, 0.5)),
        SCHEDULER,
    )
    assert torch.equal(predict(NOISY, at(500)), NOISY + 1 + 4 * (2 - 1))
    assert torch.equal(predict(NOISY, at(501)), NOISY + 2)
    assert strong.calls == [(2, 2, [False, False])] * 2
    assert weak.calls == [(2, 2, [True, True])]


def test_the_output_has_the_type_of_the_latents() -> None:
    def model(noisy: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        return noisy.to(torch.bfloat16)

    for settings in (GuidanceSettings(3.0, 0.5), GuidanceSettings(3.0, interval=(0.9, 1.0))):
        assert predicting(settings, model=model)(NOISY, at(500)).dtype == torch.float32
    assert unguided(model, TEXT)(NOISY, at(500)).dtype == torch.float32


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
    together = predicting(GuidanceSettings(4.0, 0.7))(NOISY, at(500))
    alone = predicting(GuidanceSettings(4.0, 0.7), rows=slice(1, 2))
    torch.testing.assert_close(alone(NOISY[1:], at(500)[1:]), together[1:])


def test_the_routed_prediction_is_for_the_same_caption_and_keeps_a_share_of_the_patches() -> None:
    seen: list[list[list[int]]] = []

    def routed(noisy: Tensor, timesteps: Tensor, text: TextStates, *, kept: Tensor) -> Tensor:
        assert text is TEXT
        seen.append(kept.tolist())
        return torch.zeros_like(noisy)

    draws = [torch.tensor([[0.3, 0.1, 0.2, 0.9], [0.9, 0.8, 0.1, 0.2]]), torch.zeros(2, 4)]
    both = with_routed(Model(), TEXT, routed, draws.__getitem__, share=0.5)
    caption, weaker = both(NOISY, at(500))
    assert torch.equal(caption, NOISY + 2)
    assert not weaker.any()
    both(NOISY, at(400))
    assert seen[0] == [[1, 2], [2, 3]]
    assert len(seen[1][0]) == 2
