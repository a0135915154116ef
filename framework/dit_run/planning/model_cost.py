"""The cost of a config's model: its parameters, and the floating-point operations of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dit_run.assembly.parts import Encoders, build_denoiser, build_encoders
from dit_run.compute.timing import operations
from dit_run.model.denoiser import trainable_parameters
from dit_run.protocols import TextStates
from dit_run.settings import Config

__all__ = ["ModelCost", "ModelPart", "cost_of"]

META = torch.device("meta")
"""The device of tensors with a shape and without memory."""


@dataclass(frozen=True)
class ModelPart:
    """A part that trains."""

    name: str
    """``model`` or ``text_encoder``."""
    parameters: int
    flops: int
    """Operations of one sample's forward pass: products of matrices, with a multiplication and an addition as two.
    Norms, activations and softmax, a few per cent of the whole, are left out. A training step takes three times as
    many."""


@dataclass(frozen=True)
class ModelCost:
    """The cost of a sample of the training size, with as many text tokens as the encoder takes."""

    parts: tuple[ModelPart, ...]
    latents: tuple[int, int, int]
    """(c, h, w)."""
    text_length: int


def cost_of(config: Config) -> ModelCost:
    """Count without memory for weights, so that the largest model takes seconds. No data are read.

    Raises InputError where files with the sizes of the encoders are missing.
    """
    encoders = build_encoders(config, torch.device("cpu"))
    with META:
        denoiser = build_denoiser(config, encoders, META)
        size, length = config.data.common.image_size, encoders.text.max_length
        shape, mask = encoders.latent_shape(size, size), torch.ones(1, length, dtype=torch.bool)
        parts = [_part("model", denoiser.model, torch.empty(1, *shape), torch.empty(1), _states(encoders, mask))]
        if denoiser.text_encoder is not None:
            ids = torch.empty(1, length, dtype=torch.int64)
            parts.append(_part("text_encoder", denoiser.text_encoder, ids, mask))
    return ModelCost(tuple(parts), shape, length)


def _states(encoders: Encoders, mask: Tensor) -> TextStates:
    """Return the states of a caption of the greatest length."""
    tokens = torch.empty(*mask.shape, encoders.text.width)
    return TextStates(tokens, mask, torch.empty(1, encoders.text.pooled_width), torch.empty(1, dtype=torch.bool))


def _part(name: str, module: nn.Module, *inputs: Tensor | TextStates) -> ModelPart:
    with operations() as counter, torch.no_grad():
        module.eval()(*inputs)
    parameters = sum(value.numel() for _, value in trainable_parameters(module))
    return ModelPart(name, parameters, counter.get_total_flops())
