"""Text models of transformers at a tiny size with random weights, saved as their real counterparts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["FAMILIES", "WORDS", "tiny_text_model", "tiny_word_tokenizer"]

WORDS = ("a", "red", "green", "blue", "cat", "dog", "circle", "square", "on", "mat", "the", "sat", "Describe:", "user")
_SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_DECODER = {**_SHAPE, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 128}


def tiny_word_tokenizer(folder: Path, before: str | None, after: str | None) -> int:
    """A tokenizer of whole words in ``folder``, with markers around a text; returns its number of tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    markers = [(token, tokens.index(token)) for token in (before, after) if token is not None]
    single = " ".join(each for each in (before, "$A", after) if each is not None)
    if markers:
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=markers)
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    saved.save_pretrained(folder)
    return len(tokens)


def _t5(size: int, name: str) -> Any:
    import transformers

    config = getattr(transformers, f"{name}Config")(
        vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=2
    )
    return getattr(transformers, f"{name}EncoderModel")(config)


def _of(name: str, **shape: Any) -> Callable[[int], Any]:
    def make(size: int) -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(vocab_size=size, pad_token_id=0, **shape)
        return getattr(transformers, f"{name}Model")(config)

    return make


def _siglip(size: int) -> Any:
    from transformers import SiglipConfig, SiglipModel

    text = {**_SHAPE, "vocab_size": size, "max_position_embeddings": 16, "pad_token_id": 0, "projection_size": 16}
    return SiglipModel(SiglipConfig(text_config=text, vision_config={**_SHAPE, "image_size": 16, "patch_size": 8}))


def _qwen_vl(size: int) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = {**_SHAPE, "num_key_value_heads": 1, "vocab_size": size, "max_position_embeddings": 128}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rope, "pad_token_id": 0},
        vision_config={**vision, "fullatt_block_indexes": [0]},
    )
    return Qwen2_5_VLForConditionalGeneration(config)


FAMILIES: Mapping[str, tuple[Callable[[int], Any], str | None, str | None]] = {
    "t5": (lambda size: _t5(size, "T5"), None, "</s>"),
    "umt5": (lambda size: _t5(size, "UMT5"), None, "</s>"),
    "bert": (_of("Bert", **_SHAPE, max_position_embeddings=64), "<s>", "</s>"),
    "siglip": (_siglip, None, "</s>"),
    "gemma": (_of("Gemma2", **_DECODER), "<s>", None),
    "qwen": (_of("Qwen3", **_DECODER), None, None),
    "qwen_vl": (_qwen_vl, None, None),
}
"""The model of each family for a number of tokens, and the markers of its tokenizer before and after a text."""


def tiny_text_model(folder: Path, family: str, *, seed: int = 0) -> Path:
    """A model of the family with its tokenizer in ``folder``."""
    make, before, after = FAMILIES[family]
    size = tiny_word_tokenizer(folder, before, after)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make(size).save_pretrained(folder)
    return folder
