"""A text encoder of the transformers library as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined
from dit_run.hub import TRANSFORMERS, Pretrained
from dit_run.problems import InputError, NotInDiffusers
from dit_run.protocols import Tokens
from dit_run_plugins.frozen_networks import LazyNetwork
from dit_run_plugins.text_encoders.folders import EncoderFolders
from dit_run_plugins.text_encoders.transformers import Transformers
from dit_run_plugins.text_encoders.transformers.network import (
    DTYPES,
    Shape,
    load_network,
    network_without_weights,
    read_shape,
)
from dit_run_plugins.text_encoders.transformers.tokenizer import CaptionTokenizer

__all__ = ["TransformersTextEncoder", "build"]

_VERSION = 1
"""Increased by hand when the same files give other states."""
_KEY = "text_encoder.pretrained_model_name"
_LENGTH = 256
"""Tokens of a caption where the config sets no number."""


def build(options: Transformers) -> TransformersTextEncoder:
    """Return the encoder. Its small files are found or downloaded now; weights are loaded at the first use.

    Raises InputError if files are missing, do not belong to a text encoder, or do not fit the options.
    """
    return TransformersTextEncoder(options)


class TransformersTextEncoder(nn.Module):
    """Implements :class:`dit_run.protocols.TextEncoder`.

    Token states are those of the chosen layers, side by side along the width. Decoders read a caption from left to
    right, with padding after its end.
    """

    trainable = False

    def __init__(self, options: Transformers) -> None:
        super().__init__()
        weights = Pretrained(options.pretrained_model_name, _KEY, options.revision)
        folders = EncoderFolders.of(weights, options.subfolder)
        folder = folders.weights.need(*folders.encoder_files("config.json")).parent
        shape = read_shape(folders.weights, str(folder))
        self._tokenizer = CaptionTokenizer(folders, options.template)
        self._files = folders.weights.weight_files(TRANSFORMERS, folders.encoder)
        self._options, self._shape = options, shape
        self.max_length = _max_length(options, shape, self._tokenizer)
        self.width = shape.width * len(_checked_layers(options, shape))
        self.pooled_width = shape.own_pooled_width if options.pooling == "model" else self.width
        dtype = DTYPES[options.dtype]
        self._folder = str(folder)
        self._load = partial(load_network, folders.weights, self._files, options.layers, dtype)
        self._network = LazyNetwork(self._load, dtype)

    def to_transformers(self) -> tuple[nn.Module, Any]:
        """Return the model and the tokenizer of transformers. Raises NotInDiffusers if they give other states.

        The model is loaded anew, in the precision of ``dtype``.
        """
        if self._options.template is not None:
            raise NotInDiffusers("text_encoder.template cuts states that the pipelines of diffusers keep")
        if any(layer % (self._shape.layers + 1) != self._shape.layers for layer in self._options.layers):
            raise NotInDiffusers("text_encoder.layers are not only the last one, which the pipelines of diffusers take")
        tokenizer = self._tokenizer.to_transformers()
        return self._load().model, tokenizer

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        return self._tokenizer(captions, self.max_length)

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return states float32 [n, l, width] and pooled vectors float32 [n, pooled_width] for ids and mask [n, l]."""
        frame, length = self._tokenizer.frame, ids.shape[1]
        whole, seen = frame.around(ids, mask)
        with self._precision(ids.device):
            states, own = self._run(whole, seen)
        states = frame.inside(states.float(), length)
        if self._options.dtype == "fp16" and not bool(states[mask].isfinite().all()):
            raise InputError("text_encoder.dtype is fp16, and states overflow in it; use bf16 or fp32")
        return states, self._pooled(states, mask, own)

    def load(self) -> None:
        """Load the weights now, instead of at the first use."""
        self._network.load()

    def without_weights(self) -> nn.Module:
        """Return the network on torch's meta device."""
        return network_without_weights(self._folder, DTYPES[self._options.dtype])

    def release(self) -> None:
        """Free the memory of the weights; they are loaded again at the next use."""
        self._network.release()

    def fingerprint(self) -> str:
        options = self._options
        settings = [self.max_length, options.layers, options.dtype, options.pooling]
        parts = [self._files.digest(), self._shape.config, self._tokenizer.fingerprint(), settings]
        return combined(["transformers", _VERSION, *parts])

    def _run(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self._shape.unmasked:
            output: tuple[Tensor, Tensor | None] = self._network(ids, mask.long())
            return output
        missing = (self._shape.positions or 0) - ids.shape[1]
        output = self._network(torch.nn.functional.pad(ids, (0, missing), value=self._tokenizer.frame.padding))
        return output

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Turn autocast off for weights in lower precision, which compute in that precision."""
        return nullcontext() if self._options.dtype == "fp32" else torch.autocast(device.type, enabled=False)

    def _pooled(self, states: Tensor, mask: Tensor, own: Tensor | None) -> Tensor:
        match self._options.pooling:
            case "first":
                return states[:, 0]
            case "last":
                return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
            case "mean":
                return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if own is None:
            raise InputError(
                f"text_encoder.pooling is model, but {self._shape.kind} has no pooled vector of its own; "
                "use mean, first or last"
            )
        return own.float()


def _max_length(options: Transformers, shape: Shape, tokenizer: CaptionTokenizer) -> int:
    """Return the largest number of tokens of a caption. Raises InputError if the model has not as many positions."""
    frame = tokenizer.frame
    around = len(frame.cut) + len(frame.rest)
    least = len(frame.head) + len(frame.tail) + 1
    room = None if shape.positions is None else shape.positions - around
    length = options.max_length or min(_LENGTH, _LENGTH if room is None else room)
    if room is not None and length > room:
        taken = f", of which the template takes {around}" if around else ""
        raise InputError(f"text_encoder.max_length is {length}, but the model has {shape.positions} positions{taken}")
    if length < least:
        raise InputError(f"text_encoder.max_length is {length}; a caption of one token takes {least} with its markers")
    return length


def _checked_layers(options: Transformers, shape: Shape) -> tuple[int, ...]:
    wrong = [layer for layer in options.layers if not -shape.layers - 1 <= layer <= shape.layers]
    if wrong or not options.layers:
        said = f"has {wrong[0]}" if wrong else "is empty"
        raise InputError(
            f"text_encoder.layers {said}; this model has the layers 0 to {shape.layers}, or -{shape.layers + 1} to -1"
        )
    return options.layers
