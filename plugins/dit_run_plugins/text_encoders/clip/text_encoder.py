"""CLIP's text tower as a torch module; its network is transformers' CLIPTextModel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined, file_digest
from dit_run.hub import Pretrained
from dit_run.protocols import Tokens
from dit_run_plugins.frozen_networks import LazyNetwork
from dit_run_plugins.pretrained import load
from dit_run_plugins.text_encoders.clip.tokenizer import ClipTokenizer

__all__ = ["ClipTextEncoder"]

_VERSION = 1
"""Raised by hand when the same files give other states."""


class ClipTextEncoder(nn.Module):
    """Implements :class:`dit_run.protocols.TextEncoder`. Token states are those after the last layer norm; the pooled
    vector is the one of the end marker, without the projection that only CLIP's own loss needs."""

    trainable = False

    def __init__(self, weights: Pretrained) -> None:
        super().__init__()
        config = weights.object("config.json", "text_encoder/config.json")
        text = _text_config(weights, config)
        self.width = self.pooled_width = int(text.get("hidden_size", 512))
        self.max_length = int(text.get("max_position_embeddings", 77))
        self._tokenizer = ClipTokenizer(weights, self.max_length)
        names = ("model.safetensors", "pytorch_model.bin")
        self._file = weights.need(*names, *(f"text_encoder/{name}" for name in names))
        self._config = config
        self._network = LazyNetwork(partial(_load, weights, self._file))

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        return self._tokenizer(captions)

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """No mask goes to the network: its attention is causal, so what follows the end marker changes nothing."""
        states: Tensor = self._network(ids).last_hidden_state
        last = mask.sum(1) - 1
        return states, states[torch.arange(len(states), device=states.device), last]

    def release(self) -> None:
        """Give memory back; weights are read again when they are needed."""
        self._network.release()

    def fingerprint(self) -> str:
        return combined(["clip", _VERSION, file_digest(self._file), self._config, self._tokenizer.fingerprint()])


def _text_config(weights: Pretrained, config: dict[str, Any]) -> dict[str, Any]:
    """The text tower's part of a config.json, which is all of it or, beside a vision tower, nested."""
    kind = config.get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise weights.error(f"holds {kind or 'another kind of model'}, not a CLIP text encoder")
    nested = config.get("text_config", config)
    return nested if isinstance(nested, dict) else config


def _load(weights: Pretrained, file: Path) -> nn.Module:
    from transformers import CLIPTextModel

    return load(CLIPTextModel, weights, file, "a CLIP text encoder")
