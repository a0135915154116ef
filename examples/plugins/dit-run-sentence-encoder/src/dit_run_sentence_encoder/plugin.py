"""What the package offers. Light: transformers is imported when a config uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import HubOrPath, bounds


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Any encoder that transformers' AutoModel knows, frozen; the pooled vector is the mean over tokens."""

    pretrained_model_name: Annotated[str, HubOrPath] = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub name or local folder with weights and tokenizer."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""
    max_length: Annotated[int, bounds(ge=4)] = 64
    """The most tokens of a caption, markers included; longer ones are cut."""


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TEXT_ENCODER, "sentence", Sentence, "dit_run_sentence_encoder.encoder:build")]
