"""A frozen AutoModel with its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from dit_run.problems import InputError
from dit_run.protocols import Tokens

if TYPE_CHECKING:
    from dit_run_sentence_encoder.plugin import Sentence

__all__ = ["SentenceEncoder", "build"]


class SentenceEncoder(nn.Module):
    """Implements dit_run.protocols.TextEncoder."""

    trainable = False

    def __init__(self, network: nn.Module, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.width = self.pooled_width = int(network.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        encoded = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        mask = encoded["attention_mask"].bool()
        mask[:, 0] = True  # a tokenizer without markers has no token for the empty caption
        lengths = [len(ids) for ids in self.tokenizer(list(captions), verbose=False)["input_ids"]]
        return Tokens(encoded["input_ids"], mask, sum(length > self.max_length for length in lengths))

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask[..., None].to(states)
        return states, (states * weights).sum(1) / weights.sum(1)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.max_length} {sorted(self.tokenizer.get_vocab().items())}".encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def build(options: Sentence) -> SentenceEncoder:
    """Return the encoder; raise InputError if weights or tokenizer cannot be loaded."""
    name, revision = options.pretrained_model_name, options.revision
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="right")
        network = AutoModel.from_pretrained(name, revision=revision, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(
            f"text_encoder.pretrained_model_name: {name!r} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return SentenceEncoder(network, tokenizer, options.max_length)
