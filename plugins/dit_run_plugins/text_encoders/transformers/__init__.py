"""transformers: any encoder or decoder of the transformers library as a frozen text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.hub import on_hub
from dit_run.options import HubOrPath, Operational, PositiveInt, acts_if, bounds

__all__ = ["Transformers"]


@dataclass(frozen=True, kw_only=True)
class Transformers:
    """A text encoder of the transformers library, frozen, its states cached: T5, UMT5, BERT, SigLIP, Gemma, Qwen."""

    pretrained_model_name: Annotated[str, HubOrPath] = "google/t5-v1_1-base"
    """Hub name or local folder of a model and its tokenizer, or of a pipeline. Of an encoder-decoder the encoder is
    taken, of a model for images and text its language half."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    subfolder: str | None = None
    """Folder of the encoder in a pipeline, such as `text_encoder_2`, whose tokenizer is in `tokenizer_2`; null looks
    at the top and in `text_encoder`."""
    max_length: PositiveInt | None = None
    """Largest number of tokens of a caption, markers included; longer captions are cut. null takes 256, or the
    positions of the model if these are fewer."""
    layers: tuple[int, ...] = (-1,)
    """Layers whose states are used, next to each other along the width: 0 is the embedding, -1 the last layer with its
    final norm, -2 the one before."""
    template: Annotated[str, bounds(pattern=r"\{caption\}")] | None = None
    """Text around the caption, with `{caption}` in its place. The model reads it, but only the states of the caption
    and of the token after it are used."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the weights in memory. With fp32 the encoder computes in `training.mixed_precision`."""
    pooling: Literal["mean", "first", "last", "model"] = "mean"
    """The vector of a caption: the mean of its states, that of its first or last token, or the model's own."""
