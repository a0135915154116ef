"""The network of a text encoder of transformers: which class loads it, and the states of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.hub import Pretrained, WeightFiles
from dit_run_plugins.frozen_networks import load_transformers_network

__all__ = ["DTYPES", "Shape", "TextNetwork", "load_network", "network_without_weights", "read_shape"]

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_HALVES = ("text_model", "language_model")
"""Attributes that hold the language half of a model for images and text."""
_UNMASKED = ("siglip_text_model", "siglip2_text_model")
"""Models that were trained on captions padded to all their positions, without a mask."""


class Shape:
    """Sizes of a model, from its config.json."""

    def __init__(self, config: Any) -> None:
        text = config.get_text_config(encoder=True) if config.is_encoder_decoder else config.get_text_config()
        self.kind: str = text.model_type
        self.width: int = text.hidden_size
        self.layers: int = text.num_hidden_layers
        self.positions: int | None = _positions(text)
        self.unmasked: bool = self.kind in _UNMASKED
        self.own_pooled_width: int = getattr(text, "projection_size", None) or self.width
        self.config: dict[str, Any] = config.to_dict()


def read_shape(weights: Pretrained, folder: str) -> Shape:
    """Return the sizes of the model in a folder. Raises InputError if it is no model of text."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise weights.error(f"has a config.json that transformers does not read: {folder}: {reason}") from error
    text = config.get_text_config()
    if not all(hasattr(text, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers")):
        raise weights.error(f"holds a {config.model_type}, not a text encoder: its config.json has no vocabulary")
    if config.is_encoder_decoder and not _is_text_encoding(config):
        raise weights.error(f"holds a {config.model_type}, whose encoder transformers cannot load without its decoder")
    return Shape(config)


def _positions(text: Any) -> int | None:
    """Return the largest number of tokens that the model can place; None without a limit."""
    positions: int | None = getattr(text, "max_position_embeddings", None)
    if positions is not None and "roberta" in text.model_type:  # its first positions are those of padding
        return positions - int(text.pad_token_id or 0) - 1
    return positions


def _is_text_encoding(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    return type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING


def load_network(weights: Pretrained, files: WeightFiles, layers: Sequence[int], dtype: torch.dtype) -> TextNetwork:
    """Return the encoder in a folder, an encoder-decoder's encoder or the language half of a model with images.

    Raises InputError for weights that are damaged, incomplete or of another shape.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(files.file.parent), local_files_only=True)
    noun = f"the text encoder {config.model_type}"
    whole = load_transformers_network(_class_of(config), weights, files, noun, dtype=dtype)
    return TextNetwork(_text_half(config, whole), tuple(layers), Shape(config).layers)


def network_without_weights(folder: str, dtype: torch.dtype) -> nn.Module:
    """Return the encoder whose config.json is in a folder, on torch's meta device."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        return _text_half(config, _class_of(config).from_config(config)).to(dtype)


def _class_of(config: Any) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if _is_text_encoding(config) else AutoModel


def _text_half(config: Any, whole: nn.Module) -> nn.Module:
    """Return the language half of a model for images and text, else the model itself."""
    halves = (getattr(whole, name, None) for name in _HALVES if config.get_text_config() is not config)
    return next((half for half in halves if isinstance(half, nn.Module)), whole)


class TextNetwork(nn.Module):
    """A model of transformers that returns the states of some layers, and its own pooled vector if it has one."""

    def __init__(self, model: nn.Module, layers: tuple[int, ...], count: int) -> None:
        super().__init__()
        self.model = model
        self.layers = [layer % (count + 1) for layer in layers]
        self.count = count

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return states [n, l, d · layers] and the pooled vectors [n, p] or None, for ids and mask, int64 [n, l]."""
        inner = any(layer != self.count for layer in self.layers)
        extra = {"use_cache": False} if getattr(self.model.config, "use_cache", False) else {}
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=inner, **extra)
        states = [output.last_hidden_state if i == self.count else output.hidden_states[i] for i in self.layers]
        return torch.cat(states, dim=-1), getattr(output, "pooler_output", None)
