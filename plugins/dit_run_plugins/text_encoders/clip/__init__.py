"""clip: CLIP's text encoder, frozen (Radford et al., 2021, arXiv:2103.00020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.hub import on_hub
from dit_run.options import HubOrPath, Operational, acts_if

__all__ = ["Clip"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """CLIP's text encoder with its tokenizer: up to 77 tokens, frozen, its states cached."""

    pretrained_model_name: Annotated[str, HubOrPath] = "openai/clip-vit-base-patch32"
    """Hub name or local folder of a CLIP or a pipeline: 512 wide, or 768 as in `openai/clip-vit-large-patch14`."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    subfolder: str | None = None
    """Folder of the encoder in a pipeline, such as `text_encoder_2`, whose tokenizer is in `tokenizer_2`; null looks
    at the top and in `text_encoder`."""
