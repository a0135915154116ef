"""The contract of a guidance: a function of two predictions and the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_run.protocols import Guidance, GuidedStep, OtherWeights, Routed
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.torch_modules import expect_tensor

__all__ = ["CHECKS", "check_guidance"]

_SHAPE = (3, 4, 8, 8)
_SCHEDULER = "flow_matching"
_CALLS = 4
_LATE = 50
"""Number of calls before one that is not among the first, which a guidance may treat differently."""
_TOLERANCE = 1e-4


def check_guidance(component: Component | str | Path, **options: Any) -> None:
    """Test a guidance with these options on predictions [3, 4, 8, 8] of a flow.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError.
    """
    check_all(Subject.of(Kind.GUIDANCE, component, options), CHECKS)


def _make(subject: Subject) -> Guidance:
    made = subject.make()
    subject.expect(
        callable(made), f"the factory returned {type(made).__name__}; return a function of caption, weaker and step"
    )
    return made  # type: ignore[no-any-return]


def _normal(seed: int) -> Tensor:
    return torch.randn(_SHAPE, generator=torch.Generator().manual_seed(seed))


def _step(scale: float = 3.0, *, index: int = _LATE) -> GuidedStep:
    """Return a step in the middle of the way from noise to clean, with nothing in its memory."""
    scheduler = Subject.of(Kind.SCHEDULER, _SCHEDULER, {}).make(latent_shape=_SHAPE[1:])
    count = _SHAPE[0]
    return GuidedStep(_normal(0), torch.full((count,), 500.0), torch.full((count, 1, 1, 1), scale), scheduler, index)


def _guided(subject: Subject, caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    output = _make(subject)(caption, weaker, step)
    return expect_tensor(subject, "the guided output", output, tuple(caption.shape), torch.float32)


def _several(guidance: Guidance, rows: slice = slice(None)) -> list[Tensor]:
    """Return the outputs of several calls for the same images, of which ``rows`` are there."""
    first = _step(index=0)
    memory: dict[str, Tensor] = {}
    outputs = []
    for index in range(_CALLS):
        step = replace(
            first,
            noisy=first.noisy[rows],
            timesteps=first.timesteps[rows] - 100 * index,
            scale=first.scale[rows],
            index=index,
            memory=memory,
        )
        outputs.append(guidance(_normal(1 + index)[rows], _normal(10 + index)[rows], step))
    return outputs


def returns_an_output_of_the_model(subject: Subject) -> None:
    """Check that it returns finite float32 latents of the same shape, and leaves its arguments as they are."""
    caption, weaker = _normal(1), _normal(2)
    for index in (0, _LATE):
        _guided(subject, caption, weaker, _step(index=index))
    subject.expect(
        torch.equal(caption, _normal(1)) and torch.equal(weaker, _normal(2)),
        "it changes the predictions that it is given; return another tensor",
    )


def moves_away_from_a_known_prediction(subject: Subject) -> None:
    """Check that the attribute ``weaker`` of the options, if there is one, is a weaker prediction."""
    weaker = getattr(subject.options, "weaker", "empty")
    subject.expect(
        weaker == "empty" or isinstance(weaker, OtherWeights | Routed),
        f"the attribute weaker of the options is {weaker!r}; let it be 'empty', or OtherWeights or Routed of "
        "dit_run.protocols",
    )


def keeps_the_caption_at_scale_one(subject: Subject) -> None:
    """Check that at scale 1 it returns the prediction for the caption."""
    caption = _normal(1)
    output = _guided(subject, caption, _normal(2), _step(1.0))
    miss = (output - caption).abs().max().item()
    subject.expect(
        miss < _TOLERANCE,
        f"at scale 1 the output is {miss:.3g} away from the prediction for the caption; scale 1 means no guidance",
    )


def follows_the_scale(subject: Subject) -> None:
    """Check that a larger scale gives another output."""
    caption, weaker = _normal(1), _normal(2)
    low, high = (_guided(subject, caption, weaker, _step(scale)) for scale in (2.0, 6.0))
    subject.expect(not torch.equal(low, high), "scales 2 and 6 give the same output; use step.scale")


def keeps_equal_predictions(subject: Subject) -> None:
    """Check that where both predictions are the same, it returns them."""
    caption = _normal(1)
    miss = (_guided(subject, caption, caption.clone(), _step()) - caption).abs().max().item()
    subject.expect(
        miss < _TOLERANCE,
        f"two equal predictions give an output that is {miss:.3g} away from them; guidance has nothing to move away "
        "from there",
    )


def keeps_nothing_outside_of_the_memory(subject: Subject) -> None:
    """Check that it gives the same outputs for the same images again."""
    guidance = _make(subject)
    for first, again in zip(_several(guidance), _several(guidance), strict=True):
        subject.expect(
            torch.equal(first, again),
            "the same calls give other outputs; keep what the next call needs in step.memory, and use no random "
            "numbers",
        )


def treats_images_alone(subject: Subject) -> None:
    """Check that the output of an image does not depend on the images next to it."""
    guidance = _make(subject)
    for together, alone in zip(_several(guidance), _several(guidance, slice(1, 2)), strict=True):
        miss = (together[1:2] - alone).abs().max().item()
        subject.expect(
            miss < _TOLERANCE,
            f"an image alone gets an output that is {miss:.3g} away from that next to others; compute sums and norms "
            "over the last three dimensions only",
        )


CHECKS: tuple[Check, ...] = (
    returns_an_output_of_the_model,
    moves_away_from_a_known_prediction,
    keeps_the_caption_at_scale_one,
    follows_the_scale,
    keeps_equal_predictions,
    keeps_nothing_outside_of_the_memory,
    treats_images_alone,
)
