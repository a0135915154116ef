"""CLIP's text tower, frozen (Radford et al., 2021, arXiv:2103.00020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.hub import Pretrained
from dit_run.options import HubOrPath

if TYPE_CHECKING:
    from dit_run_plugins.text_encoders.clip.text_encoder import ClipTextEncoder

__all__ = ["Clip", "build"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """CLIP's text encoder with its tokenizer: up to 77 tokens, frozen, its states cached."""

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-base-patch32"
    """Hub name or local folder: 512 wide, or 768 as in `openai/clip-vit-large-patch14`."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""


def build(options: Clip) -> ClipTextEncoder:
    """The encoder; files are found or downloaded now, weights are read at its first use.

    Raises InputError when files are missing or belong to no CLIP text tower.
    """
    from dit_run_plugins.text_encoders.clip.text_encoder import ClipTextEncoder

    weights = Pretrained(options.pretrained_model_name, "text_encoder.pretrained_model_name", options.revision)
    return ClipTextEncoder(weights)
