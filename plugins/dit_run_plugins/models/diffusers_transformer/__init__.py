"""diffusers_transformer: an image transformer of the diffusers library, new or with pretrained weights."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from dit_run.hub import on_hub
from dit_run.options import HubOrPath, Operational, PositiveInt, acts_if
from dit_run.problems import InputError
from dit_run_plugins.models.diffusers_transformer.families import FAMILIES

__all__ = ["DiffusersTransformer"]

Scalar = int | float | bool | str
Argument = Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True, kw_only=True)
class DiffusersTransformer:
    """An image transformer of diffusers: AuraFlow, Lumina2, PixArt, SD3, Sana or Z-Image."""

    pretrained_model_name: Annotated[str | None, HubOrPath] = None
    """Hub name or local folder whose weights the model begins with: a transformer in diffusers' layout, or a pipeline
    with a `transformer` subfolder. null begins with random weights."""
    revision: Annotated[str | None, Operational, acts_if("pretrained_model_name", on_hub)] = None
    """Branch, tag or commit on the hub; null uses the newest."""
    class_name: str | None = None
    """Class of diffusers, such as `SanaTransformer2DModel`. Pretrained weights name it themselves."""
    config: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the class, such as `num_layers`; the others have the defaults of the class. Latent channels and text
    widths are those of the encoders if they are not written. Pretrained weights have a config of their own."""
    text_length: PositiveInt | None = None
    """Number of text tokens that a class without a text mask reads: shorter captions are filled with zeros. null takes
    256 for AuraFlow and 333 for SD3; the other classes have a mask and need no such number."""
    gradient_checkpointing: Annotated[bool, Operational] = False
    """Compute each block again in the backward pass instead of keeping its states: much less memory, a third slower."""

    @property
    def patch_size(self) -> int:
        """The side of a patch in latent positions, which decides the sizes of images."""
        family = FAMILIES.get(self.class_name or "")
        if family is not None:
            with contextlib.suppress(InputError):  # the network refuses it
                return family.patch_size(self.config)
        return 1
