"""The contract of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dit_run.protocols import Model, TextStates
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.model_abilities import ABILITY_CHECKS
from dit_run.testing.model_trials import WIDTH, awake_model, make_model, model_inputs, predict
from dit_run.testing.torch_modules import close, expect_tensor, snapshot

__all__ = ["CHECKS", "check_model"]


def check_model(component: Component | str | Path, **options: Any) -> None:
    """Test a model with these options on latents of 4 channels, or of ``in_channels`` if it has that option.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.MODEL, component, options), CHECKS)


def begins_as_the_seed_says(subject: Subject) -> None:
    """Check that its parameters are float32 on the CPU and depend on the seed of torch alone."""
    one, other = (cast(nn.Module, make_model(subject, seed=3)) for _ in range(2))
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        subject.expect(
            mine.dtype == torch.float32 and mine.device.type == "cpu",
            f"parameter {name!r} is {mine.dtype} on {mine.device}; create it as float32 on the CPU; the core moves it",
        )
        subject.expect(
            torch.equal(mine, theirs),
            f"parameter {name!r} differs between two builds with the same seed; use torch's own generator only",
        )


@torch.no_grad()
def predicts(subject: Subject) -> None:
    """Check that predictions have the shape of the latents, for several sizes and lengths of text."""
    model = awake_model(subject)
    for tokens in (2, 5):
        latents, timesteps, text = model_inputs(subject, model, tokens=tokens)
        for noisy in (latents, latents.transpose(2, 3).contiguous(), latents.repeat(1, 1, 1, 2)):
            shape = tuple(noisy.shape)
            expect_tensor(
                subject,
                f"the prediction for {list(shape)}",
                predict(model, noisy, timesteps, text),
                shape,
                torch.float32,
            )


@torch.no_grad()
def repeats_itself(subject: Subject) -> None:
    """Check that in eval mode the same input gives the same output again."""
    model = awake_model(subject)
    inputs = model_inputs(subject, model)
    subject.expect(
        torch.equal(predict(model, *inputs), predict(model, *inputs)),
        "a second call in eval mode gives another prediction; use no random numbers, and nn.Dropout for dropout",
    )


@torch.no_grad()
def sees_each_sample_alone(subject: Subject) -> None:
    """Check that the prediction of a sample does not depend on the rest of its batch."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    both = predict(model, latents, timesteps, text)
    alone = predict(model, latents[:1], timesteps[:1], TextStates(*(part[:1] for part in text)))
    subject.expect(
        close(both[:1], alone),
        "the prediction of a sample depends on the rest of the batch; do not normalise over the batch",
    )


@torch.no_grad()
def depends_on_all_it_gets(subject: Subject) -> None:
    """Check that latents, timesteps and text change the prediction, and masked text does not."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    before = predict(model, latents, timesteps, text)
    changed = {
        "latents": (latents + 1, timesteps, text),
        "timesteps": (latents, timesteps / 2, text),
        "text": (latents, timesteps, text._replace(tokens=text.tokens.flip(2), pooled=text.pooled.flip(1))),
    }
    for name, inputs in changed.items():
        subject.expect(
            not torch.equal(predict(model, *inputs), before),
            f"other {name} give the same prediction; use {name} in forward()",
        )
    padded = text.tokens.masked_fill(~text.mask[..., None], 100.0)
    subject.expect(
        close(predict(model, latents, timesteps, text._replace(tokens=padded)), before),
        "masked token states change the prediction; apply text.mask in attention and pooling",
    )


@torch.no_grad()
def ignores_padding(subject: Subject) -> None:
    """Check that more masked tokens at the end of the text do not change the prediction."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    more = torch.full((2, 3, WIDTH), 10.0)
    padded = text._replace(
        tokens=torch.cat([text.tokens, more], dim=1), mask=nn.functional.pad(text.mask, (0, 3), value=False)
    )
    subject.expect(
        close(predict(model, latents, timesteps, padded), predict(model, latents, timesteps, text)),
        "padding changes the prediction, and its amount depends on the other captions of a batch; let text.mask, and "
        "not the length of text.tokens, decide what attention and pooling see",
    )


@torch.no_grad()
def ignores_gaps(subject: Subject) -> None:
    """Check that masked tokens between real ones, such as each of several encoders has, change no prediction."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    gap = torch.full((2, 2, WIDTH), 10.0)
    tokens = torch.cat([text.tokens[:, :2], gap, text.tokens[:, 2:]], dim=1)
    mask = torch.cat([text.mask[:, :2], torch.zeros(2, 2, dtype=torch.bool), text.mask[:, 2:]], dim=1)
    subject.expect(
        close(
            predict(model, latents, timesteps, text._replace(tokens=tokens, mask=mask)),
            predict(model, latents, timesteps, text),
        ),
        "masked tokens between real ones change the prediction, and with several text encoders each has padding of its "
        "own; let each value of text.mask decide about its token, and count no tokens",
    )


@torch.no_grad()
def repeats_itself_in_training(subject: Subject) -> None:
    """Check that in train mode predictions depend on the seed of torch alone, and change no buffer."""
    model = awake_model(subject)
    module, inputs = cast(nn.Module, model).train(), model_inputs(subject, model)
    before = snapshot(module)
    one, again, other = (_seeded(model, inputs, seed) for seed in (1, 1, 2))
    expect_tensor(subject, "the prediction in train mode", one, tuple(inputs[0].shape), torch.float32)
    subject.expect(
        torch.equal(one, again),
        "in train mode two predictions after the same torch.manual_seed differ; "
        "draw with torch's own generator only, because a run that continues seeds it for each step",
    )
    for name, value in module.state_dict().items():
        subject.expect(
            torch.equal(value, before[name]),
            f"{name!r} changed in a forward pass in train mode; keep no running statistics, because they depend on "
            "the order of micro-batches and on the number of processes",
        )
    if torch.equal(one, other):  # no dropout
        latents, timesteps, text = inputs
        alone = predict(model, latents[:1], timesteps[:1], TextStates(*(part[:1] for part in text)))
        subject.expect(
            close(one[:1], alone),
            "in train mode the prediction of a sample depends on the rest of the batch; "
            "do not normalise over the batch",
        )


def _seeded(model: Model, inputs: tuple[Tensor, Tensor, TextStates], seed: int) -> Tensor:
    torch.manual_seed(seed)
    prediction: Tensor = predict(model, *inputs)
    return prediction


def takes_dropped_captions(subject: Subject) -> None:
    """Check that a dropped caption gives a finite prediction."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    null = text._replace(null=torch.tensor([True, False]))
    with torch.no_grad():
        prediction = predict(model, latents, timesteps, null)
    expect_tensor(subject, "the prediction for a dropped caption", prediction, tuple(latents.shape), torch.float32)


def trains_every_parameter(subject: Subject) -> None:
    """Check that each parameter gets a gradient."""
    model = awake_model(subject)
    latents, timesteps, text = model_inputs(subject, model)
    null = text._replace(null=torch.tensor([True, False]))
    predict(model, latents, timesteps, null).square().mean().backward()  # type: ignore[no-untyped-call]
    for name, parameter in cast(nn.Module, model).named_parameters():
        subject.expect(
            not parameter.requires_grad or parameter.grad is not None,
            f"parameter {name!r} gets no gradient; use it in every forward pass, or make it a buffer",
        )


@torch.no_grad()
def is_its_state_dict(subject: Subject) -> None:
    """Check that another model with its state_dict predicts the same."""
    model, other = awake_model(subject), make_model(subject, seed=5)
    inputs = model_inputs(subject, model)
    cast(nn.Module, other).load_state_dict(cast(nn.Module, model).state_dict())
    subject.expect(
        torch.equal(predict(model, *inputs), predict(cast(Model, cast(nn.Module, other).eval()), *inputs)),
        "a model that loaded the state_dict of another predicts something else; "
        "keep all learnt and random values in parameters and buffers",
    )


CHECKS: tuple[Check, ...] = (
    begins_as_the_seed_says,
    predicts,
    repeats_itself,
    sees_each_sample_alone,
    depends_on_all_it_gets,
    ignores_padding,
    ignores_gaps,
    repeats_itself_in_training,
    takes_dropped_captions,
    trains_every_parameter,
    is_its_state_dict,
    *ABILITY_CHECKS,
)
