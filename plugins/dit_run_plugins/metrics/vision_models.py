"""Vision models of transformers, frozen, for features of pictures; of CLIP also those of captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dit_run.hub import Pretrained
from dit_run_plugins.metrics.preprocessing import Preprocessing
from dit_run_plugins.pretrained import load
from dit_run_plugins.text_encoders.clip.tokenizer import ClipTokenizer

__all__ = ["Clip", "Vision"]

AT_A_TIME = 32
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
Floats = NDArray[np.float32]


class Vision:
    """A network from pictures to one vector each. Its weights are in memory only while it works."""

    def __init__(self, weights: Pretrained, device: torch.device) -> None:
        """Finds or downloads the files. Raises InputError."""
        self._weights, self._device = weights, device
        self._config = weights.object("config.json")
        self._preprocessing = Preprocessing.of(weights)
        self._file = weights.need(*WEIGHTS)

    def features(self, images: Sequence[Image.Image]) -> Floats:
        """float32 [n, d]: a CLIP's or SigLIP's embedding, else the pooled state, or the mean state of a model that has
        none. Raises InputError for weights that are no vision model's."""
        return self._pictures(self._load(), images)

    def _load(self) -> nn.Module:
        from transformers import AutoModel

        return load(AutoModel, self._weights, self._file, "a vision model").to(self._device)

    def _pictures(self, network: Any, images: Sequence[Image.Image]) -> Floats:
        def embed(chunk: Sequence[Image.Image]) -> Tensor:
            pixels = torch.from_numpy(np.stack([self._preprocessing(image) for image in chunk])).to(self._device)
            if hasattr(network, "get_image_features"):
                return _pooled(network.get_image_features(pixel_values=pixels))
            return _pooled(network(pixel_values=pixels))

        return _in_chunks(embed, images)


class Clip(Vision):
    """A CLIP with both towers."""

    def __init__(self, weights: Pretrained, device: torch.device) -> None:
        super().__init__(weights, device)
        kind = self._config.get("model_type")
        if kind != "clip":
            raise weights.error(f"holds a model of type {kind!r}, not a CLIP with both towers")
        text = self._config.get("text_config") or {}
        self._tokenizer = ClipTokenizer(weights, int(text.get("max_position_embeddings", 77)))

    def cosines(self, images: Sequence[Image.Image], captions: Sequence[str]) -> Floats:
        """float32 [n]: how near each picture is to its caption, from -1 to 1."""
        network = self._load()
        pictures, texts = self._pictures(network, images), self._texts(network, captions)
        products: Floats = (_unit(pictures) * _unit(texts)).sum(axis=1)
        return products

    def _texts(self, network: Any, captions: Sequence[str]) -> Floats:
        def embed(chunk: Sequence[str]) -> Tensor:
            return _pooled(network.get_text_features(input_ids=self._tokenizer(chunk).ids.to(self._device)))

        return _in_chunks(embed, captions)


@torch.no_grad()
def _in_chunks(embed: Callable[[Any], Tensor], items: Sequence[Any]) -> Floats:
    starts = range(0, len(items), AT_A_TIME)
    parts = [embed(items[start : start + AT_A_TIME]).float().cpu().numpy() for start in starts]
    return np.concatenate(parts)


def _pooled(output: Any) -> Tensor:
    """The vector of each picture or caption: some versions of transformers return it bare."""
    if isinstance(output, Tensor):
        return output
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    return output.last_hidden_state.mean(1) if pooled is None else pooled


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
