"""Families: what the image transformers of diffusers have in common, and where they differ; light to import."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dit_run.problems import InputError

__all__ = ["FAMILIES", "Family"]

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A class of diffusers: the keys of its config that depend on the encoders, and what it predicts."""

    predicts: Literal["epsilon", "velocity"]
    """The prediction type that its published weights were trained for."""
    text_key: str | None = None
    """Config key with the width of token states; None for a class that does not read them."""
    pooled_key: str | None = None
    """Config key with the width of pooled vectors; None for a class that does not read them."""
    channel_keys: tuple[str, ...] = ("in_channels", "out_channels")
    """Config keys with the number of latent channels; the output may have twice as many."""
    patch: int = 2
    """Patch size of a config without one."""
    patch_key: str = "patch_size"
    reversed: bool = False
    """True for a class whose time runs from noise (0) to image (1), and whose output is latents - noise."""
    text_length: int | None = None
    """Tokens to which texts are filled with zeros, for a class without a mask; None for a class with one."""
    most_tokens: Callable[[Config], Any] | None = None
    """The most text tokens that a class with a mask has positions for; None for any number."""
    most_patches: Callable[[Config], Any] | None = None
    """The most patches along a side that it has positions for; None for any number."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Config keys that cannot be set, with the reason."""

    def patch_size(self, config: Mapping[str, Any]) -> int:
        """Return the side of a patch in latent positions."""
        return _number(lambda: _first(config.get(self.patch_key, self.patch)))

    def largest_side(self, config: Mapping[str, Any]) -> int | None:
        """Return the longest side of latents that there are positions for; None if any side fits."""
        most = self.most_patches
        return None if most is None else _number(lambda: most(config)) * self.patch_size(config)

    def text_limit(self, config: Mapping[str, Any], text_length: int | None) -> int | None:
        """Return the largest number of text tokens, with the option ``text_length``; None if any number fits."""
        if self.text_length is not None:
            return text_length or self.text_length
        most = self.most_tokens
        return None if most is None else _number(lambda: most(config))


def _number(read: Callable[[], Any]) -> int:
    """Return a number of a config. Raises InputError for a value of another kind."""
    try:
        return int(read())
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"model.config: a size is of another kind: {error}") from error


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) else value


_LUMINA2_AXES, _Z_IMAGE_AXES = (300, 512, 512), (1024, 512, 512)
"""Positions of text, rows and columns in configs without a number."""
_Z_IMAGE_UNIT = 32
"""Texts of Z-Image are filled to multiples of this number."""


def _patches_on_axes(config: Config) -> Any:
    return min(config.get("axes_lens", _LUMINA2_AXES)[1:])


FAMILIES: Mapping[str, Family] = {
    "AuraFlowTransformer2DModel": Family(
        "velocity",
        text_key="joint_attention_dim",
        text_length=256,
        most_patches=lambda config: math.isqrt(config.get("pos_embed_max_size", 1024)),
    ),
    "Lumina2Transformer2DModel": Family(
        "velocity",
        text_key="cap_feat_dim",
        reversed=True,
        most_tokens=lambda config: config.get("axes_lens", _LUMINA2_AXES)[0] - 1,
        most_patches=_patches_on_axes,
    ),
    "PixArtTransformer2DModel": Family("epsilon", text_key="caption_channels"),
    "SD3Transformer2DModel": Family(
        "velocity",
        text_key="joint_attention_dim",
        pooled_key="pooled_projection_dim",
        text_length=333,
        most_patches=lambda config: config.get("pos_embed_max_size", 96),
    ),
    "SanaTransformer2DModel": Family(
        "velocity",
        text_key="caption_channels",
        patch=1,
        refused={"guidance_embeds": "the class was distilled to take the guidance scale as an input"},
    ),
    "ZImageTransformer2DModel": Family(
        "velocity",
        text_key="cap_feat_dim",
        channel_keys=("in_channels",),
        patch_key="all_patch_size",
        reversed=True,
        most_tokens=lambda config: (config.get("axes_lens", _Z_IMAGE_AXES)[0] - 2) // _Z_IMAGE_UNIT * _Z_IMAGE_UNIT,
        most_patches=_patches_on_axes,
        refused={"siglip_feat_dim": "the model would expect features of other images"},
    ),
}
"""The classes that a run can train. Sources: the pipelines of diffusers."""
