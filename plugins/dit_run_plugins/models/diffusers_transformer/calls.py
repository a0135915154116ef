"""Calls: the arguments of each class of diffusers, made from those of dit-run.

Scales of time, directions and layouts are those of the class's pipeline. Timesteps of dit-run are in [0, 1000], where
1000 is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dit_run.protocols import TextStates

__all__ = ["CALLS", "Inputs"]

_STEPS = 1000.0
"""Timestep of pure noise."""


class Inputs(NamedTuple):
    """Arguments of a model of dit-run, and numbers of its config."""

    latents: Tensor
    timesteps: Tensor
    text: TextStates
    factor: int
    """Pixels per latent position."""
    text_length: int | None
    """Tokens that a class without a mask reads."""


Call = Callable[[Any, Inputs], Tensor]


def _aura_flow(module: Any, given: Inputs) -> Tensor:
    return _output(
        module,
        hidden_states=given.latents,
        encoder_hidden_states=_filled(given),
        timestep=given.timesteps / _STEPS,
    )


def _lumina2(module: Any, given: Inputs) -> Tensor:
    tokens, mask = _compact(given.text)
    return _output(
        module,
        hidden_states=given.latents,
        timestep=1 - given.timesteps / _STEPS,
        encoder_hidden_states=tokens,
        encoder_attention_mask=mask,
    )


def _pixart(module: Any, given: Inputs) -> Tensor:
    return _output(
        module,
        hidden_states=given.latents,
        encoder_hidden_states=given.text.tokens,
        encoder_attention_mask=given.text.mask,
        timestep=given.timesteps,
        added_cond_kwargs=_micro_conditions(given) if module.use_additional_conditions else None,
    )


def _sana(module: Any, given: Inputs) -> Tensor:
    return _output(
        module,
        hidden_states=given.latents,
        encoder_hidden_states=given.text.tokens,
        encoder_attention_mask=given.text.mask,
        timestep=given.timesteps * module.config.timestep_scale,
    )


def _sd3(module: Any, given: Inputs) -> Tensor:
    return _output(
        module,
        hidden_states=given.latents,
        encoder_hidden_states=_filled(given),
        pooled_projections=given.text.pooled,
        timestep=given.timesteps,
    )


def _z_image(module: Any, given: Inputs) -> Tensor:
    tokens, mask = _compact(given.text)
    lengths = mask.sum(1).tolist()
    output = module(
        [latents[:, None] for latents in given.latents],
        (_STEPS - given.timesteps) / _STEPS,
        [states[:length] for states, length in zip(tokens, lengths, strict=True)],
        patch_size=module.all_patch_size[0],
        f_patch_size=module.all_f_patch_size[0],
        return_dict=False,
    )[0]
    return torch.stack(list(output)).squeeze(2)


CALLS: Mapping[str, Call] = {
    "AuraFlowTransformer2DModel": _aura_flow,
    "Lumina2Transformer2DModel": _lumina2,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "SanaTransformer2DModel": _sana,
    "ZImageTransformer2DModel": _z_image,
}
"""The call of each class, which returns its output as the class gives it."""


def _output(module: Any, **arguments: Any) -> Tensor:
    output: Tensor = module(**arguments, return_dict=False)[0]
    return output


def _micro_conditions(given: Inputs) -> dict[str, Tensor]:
    """Return the size of the images in pixels, float [n, 2], and height / width, float [n, 1] (Chen et al. 2024)."""
    count, _, height, width = given.latents.shape
    place = given.latents.device
    size = torch.tensor([float(height * given.factor), float(width * given.factor)], device=place)
    ratio = torch.tensor([height / width], device=place)
    return {"resolution": size.repeat(count, 1), "aspect_ratio": ratio.repeat(count, 1)}


def _filled(given: Inputs) -> Tensor:
    """Return token states with zeros in place of padding, filled to the length that the class always reads."""
    assert given.text_length is not None
    masked = given.text.tokens.masked_fill(~given.text.mask[..., None], 0.0)
    return nn.functional.pad(masked, (0, 0, 0, given.text_length - masked.shape[1]))


def _compact(text: TextStates) -> tuple[Tensor, Tensor]:
    """Return token states and mask with the real tokens first, as classes expect that only count them.

    With several encoders there is padding between tokens.
    """
    if text.mask.is_meta:
        return text.tokens, text.mask.as_subclass(_AllReal)
    order = torch.argsort(~text.mask, dim=1, stable=True)
    return text.tokens.take_along_dim(order[..., None], 1), text.mask.take_along_dim(order, 1)


class _AllReal(Tensor):
    """A mask on the meta device, which has no values: all its tokens are real, so that they can be counted."""

    def sum(self, dim: int) -> Tensor:  # type: ignore[override]
        count, length = self.shape
        return torch.full((count,), length, device="cpu")
