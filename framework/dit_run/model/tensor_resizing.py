"""Resizing of weights for another grid, patch size or number of latent channels."""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["resize_input", "resize_known", "resize_output", "resize_positions"]


def resize_known(name: str, value: Tensor, initial: Tensor) -> Tensor | None:
    """Return a table of positions or a convolution over patches in the shape of ``initial``, or None for others.

    A table of positions is [n, d] or [1, n, d] for the n places of a square grid, and ``pos`` is part of its name. A
    convolution is [d, channels, patch, patch] with the width of the model as its first dimension.
    """
    if value.ndim != initial.ndim:
        return None
    if value.ndim == 4 and value.shape[0] == initial.shape[0] and _square(value) and _square(initial):
        return resize_input(value, initial)
    if value.ndim in (2, 3) and "pos" in name.lower():
        return resize_positions(value, initial)
    return None


def resize_positions(value: Tensor, initial: Tensor) -> Tensor | None:
    """Return a table of positions [..., n, d] of a square grid, interpolated to the grid of ``initial``, or None."""
    sides = isqrt(value.shape[-2]), isqrt(initial.shape[-2])
    square = sides[0] ** 2 == value.shape[-2] and sides[1] ** 2 == initial.shape[-2]
    if not square or value.shape[-1] != initial.shape[-1] or value.numel() != value.shape[-2] * value.shape[-1]:
        return None
    grid = value.float().view(1, sides[0], sides[0], -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, (sides[1], sides[1]), mode="bicubic", antialias=True)  # exact for linear tables
    return resized.permute(0, 2, 3, 1).reshape(initial.shape)


def resize_input(value: Tensor, initial: Tensor) -> Tensor:
    """Return the weights [d, channels, patch, patch] of a patch embedding in the shape of ``initial``.

    Another patch size keeps the embeddings of patches that are enlarged, as far as it can: w' = pinv(Bᵀ) w for the
    matrix B of bilinear resizing (FlexiViT, Beyer et al. 2023). Channels that are new have no effect at first.
    """
    old, new, channels = value.shape[-1], initial.shape[-1], min(value.shape[1], initial.shape[1])
    if old != new:
        matrix = torch.linalg.pinv(_bilinear(old, new).T)
        value = (value.double().flatten(2) @ matrix.T).view(*value.shape[:2], new, new)
    result = torch.zeros_like(initial)
    result[:, :channels] = value[:, :channels].to(result.dtype)
    return result


def resize_output(value: Tensor, initial: Tensor) -> Tensor:
    """Return the weights [channels, patch, patch, d] of a projection to patches in the shape of ``initial``.

    Another patch size resizes the predicted patches bilinearly. Channels that are new keep their initial weights.
    """
    old, new, channels = value.shape[1], initial.shape[1], min(len(value), len(initial))
    if old != new:
        patches = value.double().flatten(1, 2)
        value = (_bilinear(old, new) @ patches).view(len(value), new, new, -1)
    result = initial.clone()
    result[:channels] = value[:channels].to(result.dtype)
    return result


def _bilinear(old: int, new: int) -> Tensor:
    """Return the matrix [new², old²] of bilinear resizing of a square of pixels."""
    pixels = torch.eye(old * old, dtype=torch.float64).view(old * old, 1, old, old)
    resized = F.interpolate(pixels, (new, new), mode="bilinear", antialias=new < old)
    return resized.flatten(1).T


def _square(kernel: Tensor) -> bool:
    return kernel.shape[-1] == kernel.shape[-2]
