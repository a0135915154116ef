"""Models to be tested, and what they are called with."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from dit_run.protocols import Model, TextStates
from dit_run.testing.contract_error import Subject
from dit_run.testing.torch_modules import built

__all__ = ["WIDTH", "awake_model", "make_model", "model_inputs", "predict"]

WIDTH, POOLED = 16, 12
_CHANNELS = 4


def channels_of(subject: Subject) -> int:
    """Return the number of latent channels of the model of these options."""
    return int(getattr(subject.options, "in_channels", None) or _CHANNELS)


def make_model(subject: Subject, *, seed: int = 0) -> Model:
    """Return the model, initialised with this seed."""
    module = built(
        subject,
        seed=seed,
        latent_channels=channels_of(subject),
        latent_factor=8,
        text_width=WIDTH,
        pooled_width=POOLED,
        text_widths=(WIDTH,),
        pooled_widths=(POOLED,),
        initial=True,
    )
    patch = subject.attribute(module, "patch_size", int, "Model")
    subject.expect(patch > 0, f"Model.patch_size is {patch}; set it to a positive number, or to 1 if any size fits")
    return cast(Model, module)


def awake_model(subject: Subject) -> Model:
    """Return the model in eval mode with noise on all parameters, so that layers initialised to zero take part."""
    model = make_model(subject)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in cast(nn.Module, model).parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return cast(Model, cast(nn.Module, model).eval())


def model_inputs(subject: Subject, model: Model, *, tokens: int = 5) -> tuple[Tensor, Tensor, TextStates]:
    """Return latents [2, c, 4 p, 2 p] for patch size p, timesteps [2], and text with one masked token."""
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(2, channels_of(subject), 4 * model.patch_size, 2 * model.patch_size, generator=generator)
    mask = torch.ones(2, tokens, dtype=torch.bool)
    mask[1, -1] = False
    text = TextStates(
        torch.randn(2, tokens, WIDTH, generator=generator),
        mask,
        torch.randn(2, POOLED, generator=generator),
        torch.zeros(2, dtype=torch.bool),
    )
    return latents, torch.tensor([300.0, 700.0]), text


def predict(
    model: Model,
    latents: Tensor,
    timesteps: Tensor,
    text: TextStates,
    scalars: Tensor | None = None,
    **more: tuple[str, ...] | Tensor,
) -> Any:
    """Return the prediction, as a run calls the model: with the numbers that it takes, if it takes some.

    With the keyword ``taps`` it is the result of such a call, the prediction and states.
    """
    count = len(getattr(model, "scalars", ()))
    numbers = torch.arange(1.0, 1.0 + count).expand(len(latents), -1) if scalars is None else scalars
    return cast(nn.Module, model)(latents, timesteps, text, *((numbers,) if count else ()), **more)
