"""Abilities of a model: checks of the attributes ``second_time``, ``routes``, ``scalars`` and ``taps``."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dit_run.testing.contract_error import Check, Subject
from dit_run.testing.model_trials import awake_model, model_inputs, predict
from dit_run.testing.torch_modules import close, expect_tensor

__all__ = ["ABILITY_CHECKS"]


@torch.no_grad()
def takes_a_second_timestep(subject: Subject) -> None:
    """Check that a model with the attribute ``second_time`` uses the second timestep, the first one by default."""
    model = awake_model(subject)
    if not getattr(model, "second_time", False):
        return
    latents, timesteps, text = model_inputs(subject, model)
    plain = predict(model, latents, timesteps, text)
    same, other = (
        predict(model, latents, timesteps, text, second_timesteps=each) for each in (timesteps, timesteps / 2)
    )
    subject.expect(
        torch.equal(plain, same),
        "without second_timesteps the prediction is not that for the first timesteps as the second; use these then",
    )
    subject.expect(
        not torch.equal(plain, other), "other second_timesteps give the same prediction; use them in forward()"
    )


@torch.no_grad()
def routes_the_patches_that_it_gets(subject: Subject) -> None:
    """Check that a model with the attribute ``routes`` lets the patches in ``kept`` alone pass all blocks."""
    model = awake_model(subject)
    if not getattr(model, "routes", False):
        return
    latents, timesteps, text = model_inputs(subject, model)
    count = latents.shape[2] * latents.shape[3] // model.patch_size**2
    every = torch.arange(count).expand(len(latents), -1)
    plain = predict(model, latents, timesteps, text)
    subject.expect(
        close(plain, predict(model, latents, timesteps, text, kept=every)),
        "with the indices of all patches in kept it gives another prediction than without",
    )
    subject.expect(
        not torch.equal(plain, predict(model, latents, timesteps, text, kept=every[:, ::2].contiguous())),
        "with half of the patches in kept it gives the same prediction; let the others skip blocks",
    )


@torch.no_grad()
def uses_the_scalars_of_its_options(subject: Subject) -> None:
    """Check that it takes the numbers that its option ``scalars`` names, if it has that option, and uses each."""
    names, model = tuple(getattr(subject.options, "scalars", ())), awake_model(subject)
    own = tuple(getattr(model, "scalars", ()))
    subject.expect(own == names, f"Model.scalars is {own}, and its option scalars is {names}; let them be the same")
    inputs = model_inputs(subject, model)
    numbers = torch.arange(1.0, 1.0 + len(names)).expand(2, -1)
    for place, name in enumerate(names):
        other = numbers.clone()
        other[:, place] += 1
        subject.expect(
            not torch.equal(predict(model, *inputs, numbers), predict(model, *inputs, other)),
            f"another value of the scalar {name!r} gives the same prediction; use each in forward()",
        )


@torch.no_grad()
def offers_the_states_that_it_names(subject: Subject) -> None:
    """Check that the states in its attribute ``taps`` have their widths, and leave the prediction as it is."""
    model = awake_model(subject)
    widths: Mapping[str, int] = getattr(model, "taps", {})
    if not widths:
        return
    latents, timesteps, text = model_inputs(subject, model)
    result = predict(model, latents, timesteps, text, taps=tuple(widths))
    subject.expect(
        isinstance(result, tuple) and len(result) == 2 and set(result[1]) == set(widths),
        "with the keyword taps it does not return the prediction and a mapping of these names to states",
    )
    rows, columns = (side // model.patch_size for side in latents.shape[-2:])
    for name, width in widths.items():
        expect_tensor(subject, f"taps[{name!r}]", result[1][name], (2, width, rows, columns), torch.float32)
    subject.expect(
        torch.equal(result[0], predict(model, latents, timesteps, text)),
        "with the keyword taps it gives another prediction",
    )


ABILITY_CHECKS: tuple[Check, ...] = (
    takes_a_second_timestep,
    routes_the_patches_that_it_gets,
    uses_the_scalars_of_its_options,
    offers_the_states_that_it_names,
)
