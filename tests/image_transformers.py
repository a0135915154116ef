"""Image transformers of diffusers at a tiny size with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["CONFIGS", "tiny_transformer"]

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "AuraFlowTransformer2DModel": {
        "sample_size": 8,
        "num_mmdit_layers": 1,
        "num_single_dit_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 64,
    },
    "Lumina2Transformer2DModel": {
        "sample_size": 8,
        "hidden_size": 24,
        "num_layers": 1,
        "num_refiner_layers": 1,
        "num_attention_heads": 3,
        "num_kv_heads": 1,
        "multiple_of": 4,
        "axes_dim_rope": [4, 2, 2],
        "axes_lens": [128, 16, 16],
    },
    "PixArtTransformer2DModel": {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 1,
        "cross_attention_dim": 16,
        "sample_size": 8,
        "interpolation_scale": 1,
    },
    "SD3Transformer2DModel": {
        "sample_size": 8,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 16,
    },
    "SanaTransformer2DModel": {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 1,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "sample_size": 8,
        "timestep_scale": 0.5,
    },
    "ZImageTransformer2DModel": {
        "dim": 32,
        "n_layers": 1,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "axes_dims": [4, 6, 6],
        "axes_lens": [256, 32, 32],
    },
}
"""Arguments of each class but those that depend on the encoders."""


def tiny_transformer(
    folder: Path, class_name: str, *, seed: int = 0, saving: Mapping[str, Any] | None = None, **more: Any
) -> Path:
    """A transformer of this class in ``folder``; ``more`` are its arguments, ``saving`` those of save_pretrained."""
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = getattr(diffusers, class_name)(**{**CONFIGS[class_name], **more})
        for parameter in module.parameters():  # a class may begin with zeros, which would hide arguments
            torch.nn.init.normal_(parameter, std=0.2)
        module.save_pretrained(folder, **(saving or {}))
    return folder
