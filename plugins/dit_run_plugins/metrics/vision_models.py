"""Frozen vision models of transformers or timm: features of images, and with CLIP those of captions, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dit_run.hub import TRANSFORMERS, Pretrained
from dit_run_plugins.frozen_networks import load_transformers_network
from dit_run_plugins.metrics.preprocessing import Preprocessing
from dit_run_plugins.text_encoders.clip.tokenizer import ClipTokenizer
from dit_run_plugins.text_encoders.folders import EncoderFolders
from dit_run_plugins.timm_models import TimmInput, build_timm, is_timm, load_timm

__all__ = ["ClipModel", "VisionModel"]

CHUNK = 32
"""Images or captions per call of the network."""
Floats = NDArray[np.float32]


class VisionModel:
    """A network from images to one vector each, loaded for each call and then dropped."""

    def __init__(self, weights: Pretrained, device: torch.device) -> None:
        """Find or download the files. Raises InputError if they are missing, or timm is for a model of timm."""
        self._weights, self._device = weights, device
        self._config = weights.object("config.json")
        self._preprocessing = _preprocessing(weights, self._config)
        self._files = weights.weight_files(TRANSFORMERS)

    def features(self, images: Sequence[Image.Image]) -> Floats:
        """Return float32 [n, d]: the embedding of a CLIP or SigLIP, else the pooled state, else the mean state.

        Raises InputError for weights that do not belong to a vision model.
        """
        return self._image_features(self._load(), images)

    def _load(self) -> nn.Module:
        from transformers import AutoModel

        if is_timm(self._config):
            return load_timm(self._weights, self._files, self._config).to(self._device)
        return load_transformers_network(AutoModel, self._weights, self._files, "a vision model").to(self._device)

    def _image_features(self, network: Any, images: Sequence[Image.Image]) -> Floats:
        def embed(chunk: Sequence[Image.Image]) -> Tensor:
            pixels = torch.from_numpy(np.stack([self._preprocessing(image) for image in chunk])).to(self._device)
            if hasattr(network, "get_image_features"):
                return _pooled(network.get_image_features(pixel_values=pixels))
            return _pooled(network(pixels) if is_timm(self._config) else network(pixel_values=pixels))

        return _in_chunks(embed, images)


class ClipModel(VisionModel):
    """A CLIP with its image encoder and its text encoder."""

    def __init__(self, weights: Pretrained, device: torch.device) -> None:
        super().__init__(weights, device)
        kind = self._config.get("model_type")
        if kind != "clip":
            raise weights.error(f"holds a model of type {kind!r}, not a CLIP with an image and a text encoder")
        text = self._config.get("text_config") or {}
        self._tokenizer = ClipTokenizer(EncoderFolders(weights), int(text.get("max_position_embeddings", 77)))

    def cosines(self, images: Sequence[Image.Image], captions: Sequence[str]) -> Floats:
        """Return float32 [n]: the cosine similarity of each image and its caption, from -1 to 1."""
        network = self._load()
        image, text = self._image_features(network, images), self._text_features(network, captions)
        return np.asarray((_unit(image) * _unit(text)).sum(axis=1))

    def _text_features(self, network: Any, captions: Sequence[str]) -> Floats:
        def embed(chunk: Sequence[str]) -> Tensor:
            return _pooled(network.get_text_features(input_ids=self._tokenizer(chunk).ids.to(self._device)))

        return _in_chunks(embed, captions)


def _preprocessing(weights: Pretrained, config: Mapping[str, Any]) -> Preprocessing:
    if not is_timm(config):
        return Preprocessing.of(weights)
    with torch.device("meta"):
        build_timm(weights, config)
    return Preprocessing.of_timm(TimmInput.of(weights, config))


@torch.no_grad()
def _in_chunks(embed: Callable[[Any], Tensor], items: Sequence[Any]) -> Floats:
    starts = range(0, len(items), CHUNK)
    parts = [embed(items[start : start + CHUNK]).float().cpu().numpy() for start in starts]
    return np.concatenate(parts)


def _pooled(output: Any) -> Tensor:
    """Return the vector of each image or caption, which some versions of transformers return directly."""
    if isinstance(output, Tensor):
        return output
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    return output.last_hidden_state.mean(1) if pooled is None else pooled


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
