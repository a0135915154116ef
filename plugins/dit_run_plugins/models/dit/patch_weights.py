"""The weights of the layers that see patches, resized from those of a dit with other patches or latent channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dit_run.model.tensor_resizing import resize_input, resize_output
from dit_run_plugins.models.dit import Dit

__all__ = ["resized_input", "resized_output"]

Patch = tuple[int, int, int]
"""Channels, rows and columns."""


def resized_input(value: Tensor, initial: Tensor, options: Mapping[str, Any], own: Dit) -> Tensor | None:
    """Return the weight [d, c · patch²] of a dit with these options in the shape of ``initial``, or None."""
    patch, own_patch = _patch(options), (own.in_channels, own.patch_size, own.patch_size)
    if value.shape != (len(initial), _area(patch)):
        return None
    return resize_input(value.view(-1, *patch), initial.view(-1, *own_patch)).flatten(1)


def resized_output(value: Tensor, initial: Tensor, options: Mapping[str, Any], own: Dit) -> Tensor | None:
    """Return the weight [c · patch², d] or the bias [c · patch²] in the shape of ``initial``, or None."""
    patch, own_patch = _patch(options), (own.in_channels, own.patch_size, own.patch_size)
    if value.shape != (_area(patch), *initial.shape[1:]):
        return None
    resized = resize_output(value.view(*patch, -1), initial.view(*own_patch, -1))
    return resized.view(initial.shape)


def _patch(options: Mapping[str, Any]) -> Patch:
    """Return the patch of a model by its options; one without channels if it is not a dit."""
    side = int(options.get("patch_size", 0))
    return int(options.get("in_channels", 0)), side, side


def _area(patch: Patch) -> int:
    return patch[0] * patch[1] * patch[2]
