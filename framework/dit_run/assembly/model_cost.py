"""The cost of a config's model: its parameters, and the floating-point operations of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dit_run.assembly.parts import Encoders, build_denoiser, encoder_shapes
from dit_run.compute.timing import operations
from dit_run.model.conditioning import joined
from dit_run.model.denoiser import trainable_parameters
from dit_run.protocols import TextEncoder, TextStates
from dit_run.settings import Config

__all__ = ["META", "ModelCost", "ModelPart", "cost_of"]

META = torch.device("meta")
"""The device of tensors with a shape and without memory."""


@dataclass(frozen=True)
class ModelPart:
    """A part that trains."""

    name: str
    """``model``, ``text_encoder``, or ``text_encoder[1]`` in a list of several."""
    parameters: int
    trained: int
    """Parameters that are not frozen."""
    flops: int
    """Operations of one sample's forward pass: products of matrices, with a multiplication and an addition as two.
    Norms, activations and softmax, a few per cent of the whole, are left out. A training step takes three times as
    many; with frozen parameters two to three times."""
    training_flops: int
    """The same in training, where a model may leave out a part of its work."""


@dataclass(frozen=True)
class ModelCost:
    """The cost of a sample of the training size, with as many text tokens as the encoder takes."""

    parts: tuple[ModelPart, ...]
    latents: tuple[int, int, int]
    """(c, h, w)."""
    text_length: int


def cost_of(config: Config, encoders: Encoders | None = None) -> ModelCost:
    """Count without memory for weights, so that the largest model takes seconds. No data are read.

    ``encoders`` are shapes without weights: the model that is built takes over those that train. Raises InputError
    where files with the sizes of the encoders are missing, unless these are given.
    """
    encoders = encoders or encoder_shapes(config)
    with META:
        denoiser = build_denoiser(config, encoders, META)
        size = config.data.common.image_size
        shape, states = encoders.latent_shape(size, size), joined([_states(text) for text in encoders.texts])
        numbers = [torch.empty(1, len(denoiser.scalars))] if denoiser.scalars else []
        parts = [_part("model", denoiser.model, torch.empty(1, *shape), torch.empty(1), states, *numbers)]
        for place, text in enumerate(encoders.texts):
            if (encoder := denoiser.trained_encoder(place)) is not None:
                name = "text_encoder" if len(encoders.texts) == 1 else f"text_encoder[{place}]"
                parts.append(_part(name, encoder, torch.empty(1, text.max_length, dtype=torch.int64), _mask(text)))
    return ModelCost(tuple(parts), shape, states.mask.shape[1])


def _states(text: TextEncoder) -> TextStates:
    """Return the states of a caption of the greatest length."""
    mask = _mask(text)
    tokens = torch.empty(*mask.shape, text.width)
    return TextStates(tokens, mask, torch.empty(1, text.pooled_width), torch.empty(1, dtype=torch.bool))


def _mask(text: TextEncoder) -> Tensor:
    return torch.ones(1, text.max_length, dtype=torch.bool)


def _part(name: str, module: nn.Module, *inputs: Tensor | TextStates) -> ModelPart:
    with operations() as counter, torch.no_grad():
        module.eval()(*inputs)
    with operations() as trained_counter, torch.no_grad():
        module.train()(*inputs)
    parameters = sum(value.numel() for value in module.parameters())
    trained = sum(value.numel() for _, value in trainable_parameters(module))
    return ModelPart(name, parameters, trained, counter.get_total_flops(), trained_counter.get_total_flops())
