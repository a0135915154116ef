"""Frozen text encoders that work in the step, and whose weights the processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.assembly.parts import Encoders
from dit_run.compute.sharding import Sharding
from dit_run.model.conditioning import Conditions, EncoderCaptions, TextIds, of_encoders
from dit_run.protocols import TextStates, Tokens

__all__ = ["SharedEncoder", "shareable", "shared_conditions"]


class SharedEncoder(nn.Module):
    """A text encoder of whose weights this process has a part; it implements :class:`dit_run.protocols.TextEncoder`.

    Each block is gathered while it works, so that all processes have to call the encoder equally often. How often
    depends on the lengths of captions: after its own calls, each process takes part in those of the others.
    """

    trainable = False

    def __init__(self, encoder: Any, sharding: Sharding) -> None:
        """Take a text encoder, and shard it in place."""
        super().__init__()
        sharding.apply_frozen(encoder)
        self.width, self.pooled_width, self.max_length = encoder.width, encoder.pooled_width, encoder.max_length
        self._encoder: Any = encoder
        self._processes = sharding.processes
        self._last: tuple[Tensor, Tensor] | None = None

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        tokens: Tokens = self._encoder.tokenize(captions)
        return tokens

    def fingerprint(self) -> str:
        digest: str = self._encoder.fingerprint()
        return digest

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, after saying so to the processes that have done their calls."""
        self._processes.any(True)
        self._last = ids[:1], mask[:1]
        states: tuple[Tensor, Tensor] = self._encoder(ids, mask)
        return states

    @torch.no_grad()
    def finish(self) -> None:
        """Take part in the calls of other processes until none has any left. Each process has called it before."""
        assert self._last is not None
        while self._processes.any(False):
            self._encoder(*self._last)


class SharedCaptions:
    """Conditions of an encoder whose weights the processes share; all processes ask for some at the same time."""

    def __init__(self, encoder: SharedEncoder, captions: EncoderCaptions) -> None:
        self._encoder: Any = encoder
        self._captions = captions

    def __call__(self, captions: Sequence[str], null: Sequence[bool]) -> TextStates | TextIds:
        conditions = self._captions(captions, null)
        self._encoder.finish()
        return conditions


def shareable(encoders: Encoders, device: torch.device) -> dict[int, Any]:
    """Return the text encoders whose weights can be shared, by place, and let their weights be in main memory.

    They are frozen ones that work in the step. One whose weights are there only after its first call, or that has a
    parameter without dimensions, is left on the device, and each process has all of its weights.
    """
    found: dict[int, Any] = {}
    for place in encoders.live_places:
        text: Any = encoders.texts[place]
        text.to("cpu")
        if (load := getattr(text, "load", None)) is not None:
            load()
        dimensions = [parameter.ndim for parameter in text.parameters()]
        if dimensions and min(dimensions) > 0:
            found[place] = text
        else:
            text.to(device)
    return found


def shared_conditions(encoders: Encoders, shared: Mapping[int, Any], sharding: Sharding) -> Conditions:
    """Shard these encoders, in place, and return the conditions of all encoders in a step."""
    each = list(encoders.captions)
    for place, text in shared.items():
        encoder = SharedEncoder(text, sharding)
        each[place] = SharedCaptions(encoder, encoders.live(encoder))
    return of_encoders(each)
