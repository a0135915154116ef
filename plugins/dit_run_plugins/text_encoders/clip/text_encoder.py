"""CLIP's text encoder as a torch module; its network is transformers' CLIPTextModel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.digests import combined
from dit_run.hub import TRANSFORMERS, Pretrained, WeightFiles
from dit_run.protocols import Tokens
from dit_run_plugins.frozen_networks import LazyNetwork, load_transformers_network
from dit_run_plugins.text_encoders.clip import Clip
from dit_run_plugins.text_encoders.clip.tokenizer import ClipTokenizer
from dit_run_plugins.text_encoders.folders import EncoderFolders

__all__ = ["ClipTextEncoder", "build"]

_VERSION = 1
"""Increased by hand when the same files give other states."""


def build(options: Clip) -> ClipTextEncoder:
    """Return the encoder. Its small files are found or downloaded now; weights are loaded at the first use.

    Raises InputError if files are missing or do not belong to a CLIP text encoder.
    """
    weights = Pretrained(options.pretrained_model_name, "text_encoder.pretrained_model_name", options.revision)
    return ClipTextEncoder(EncoderFolders.of(weights, options.subfolder))


class ClipTextEncoder(nn.Module):
    """Implements :class:`dit_run.protocols.TextEncoder`.

    Token states are those after the last layer norm. The pooled vector is the state of the end marker, without the
    projection that only CLIP's own loss needs.
    """

    trainable = False

    def __init__(self, folders: EncoderFolders) -> None:
        super().__init__()
        weights = folders.weights
        config = weights.object(*folders.encoder_files("config.json"))
        self._text_config = text = _text_config(weights, config)
        self.width = self.pooled_width = int(text.get("hidden_size", 512))
        self.max_length = int(text.get("max_position_embeddings", 77))
        self._tokenizer = ClipTokenizer(folders, self.max_length)
        self._files = weights.weight_files(TRANSFORMERS, folders.encoder)
        self._config = config
        self._network = LazyNetwork(partial(_load, weights, self._files))

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        return self._tokenizer(captions)

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode without a mask: attention is causal, so tokens after the end marker change nothing before it."""
        states: Tensor = self._network(ids).last_hidden_state
        last = mask.sum(1) - 1
        return states, states[torch.arange(len(states), device=states.device), last]

    def load(self) -> None:
        """Load the weights now, instead of at the first use."""
        self._network.load()

    def without_weights(self) -> nn.Module:
        """Return the network on torch's meta device."""
        from transformers import CLIPTextConfig, CLIPTextModel

        with torch.device("meta"):
            network: nn.Module = CLIPTextModel(CLIPTextConfig(**self._text_config))
        return network

    def release(self) -> None:
        """Free the memory of the weights; they are loaded again at the next use."""
        self._network.release()

    def fingerprint(self) -> str:
        return combined(["clip", _VERSION, self._files.digest(), self._config, self._tokenizer.fingerprint()])


def _text_config(weights: Pretrained, config: dict[str, Any]) -> dict[str, Any]:
    """Return the text encoder's part of a config.json: all of it, or nested next to an image encoder's part."""
    kind = config.get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise weights.error(f"holds {kind or 'another kind of model'}, not a CLIP text encoder")
    nested = config.get("text_config", config)
    return nested if isinstance(nested, dict) else config


def _load(weights: Pretrained, files: WeightFiles) -> nn.Module:
    from transformers import CLIPTextModel

    return load_transformers_network(CLIPTextModel, weights, files, "a CLIP text encoder")
