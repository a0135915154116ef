"""The component of this package. It is light to import: transformers is imported when a config uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import HubOrPath, bounds


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Any encoder that transformers' AutoModel can load, frozen; the pooled vector is the mean over tokens."""

    pretrained_model_name: Annotated[str, HubOrPath] = "sentence-transformers/all-MiniLM-L6-v2"
    """Name on the hub, or a local folder, with weights and tokenizer."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null uses the newest."""
    max_length: Annotated[int, bounds(ge=4)] = 64
    """Maximum number of tokens per caption, markers included; longer captions are cut."""


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TEXT_ENCODER, "sentence", Sentence, "dit_run_sentence_encoder.encoder:build")]
