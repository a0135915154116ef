"""Families: what the image transformers of diffusers have in common, and where they differ; light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["FAMILIES", "Family"]


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
    refused: Mapping[str, str] = field(default_factory=dict)
    """Config keys that cannot be set, with the reason."""

    def patch_size(self, config: Mapping[str, Any]) -> int:
        """Return the side of a patch in latent positions."""
        value = config.get(self.patch_key, self.patch)
        return int(value[0] if isinstance(value, list | tuple) else value)


FAMILIES: Mapping[str, Family] = {
    "AuraFlowTransformer2DModel": Family("velocity", text_key="joint_attention_dim", text_length=256),
    "Lumina2Transformer2DModel": Family("velocity", text_key="cap_feat_dim", reversed=True),
    "PixArtTransformer2DModel": Family("epsilon", text_key="caption_channels"),
    "SD3Transformer2DModel": Family(
        "velocity", text_key="joint_attention_dim", pooled_key="pooled_projection_dim", text_length=333
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
        refused={"siglip_feat_dim": "the model would expect features of other images"},
    ),
}
"""The classes that a run can train. Sources: the pipelines of diffusers."""
