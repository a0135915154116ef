"""Stable Diffusion's VAE and the text tower of CLIP large in their true sizes, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

__all__ = ["CAPTION_WORDS", "write_clip", "write_vae"]

CAPTION_WORDS = 11
"""Words per caption; with start and end token about the mean length of a COCO caption. A word is one letter."""
_VOCABULARY = 49408


def write_vae(folder: Path) -> None:
    from diffusers import AutoencoderKL

    from dit_run_plugins.vaes.autoencoder_kl.families import FAMILIES

    torch.manual_seed(0)
    AutoencoderKL.from_config(dict(FAMILIES["sd"])).save_pretrained(folder)


def write_clip(folder: Path) -> None:
    """Write CLIP with a vocabulary of letters, each of which is a word."""
    from transformers import CLIPTextConfig, CLIPTextModel
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(tokens) - 1
    shape = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    ids = {"vocab_size": _VOCABULARY, "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    CLIPTextModel(CLIPTextConfig(**shape, **ids, projection_dim=768)).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
