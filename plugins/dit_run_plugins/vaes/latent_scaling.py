"""Shift and scale of latents, from the values in an autoencoder's config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dit_run.problems import InputError

__all__ = ["latent_channels", "shift_and_scale"]


def latent_channels(config: Mapping[str, Any], where: str, default: int = 4) -> int:
    """Return the number of latent channels. Raises InputError, which begins with ``where``, for any other value."""
    channels = config.get("latent_channels", default)
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise InputError(f"{where}: latent_channels is {channels!r}; expected a positive integer")
    return channels


def shift_and_scale(
    config: Mapping[str, Any], where: str, *, channels: int, default_scale: float
) -> tuple[Tensor, Tensor]:
    """Return shift and scale, float32 [1, c or 1, 1, 1].

    They come from ``shift_factor`` and ``scaling_factor``, or from ``latents_mean`` and ``latents_std`` by channel. A
    factor of null changes nothing: it is 0 or 1. Raises InputError for values that are no usable numbers.
    """
    scale = _number(config, "scaling_factor", where, missing=default_scale, null=1.0)
    if scale == 0:
        raise InputError(f"{where}: scaling_factor is 0, which would make all latents equal; expected another number")
    mean, std = (_by_channel(config, name, where, channels) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        shift = _number(config, "shift_factor", where, missing=0.0, null=0.0)
        return torch.full((1, 1, 1, 1), shift), torch.full((1, 1, 1, 1), scale)
    if not bool((std > 0).all()):
        raise InputError(f"{where}: latents_std should hold numbers above 0")
    return mean, scale / std


def _number(config: Mapping[str, Any], name: str, where: str, *, missing: float, null: float) -> float:
    value = config.get(name, missing)
    value = null if value is None else value
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{where}: {name} is {value!r}; expected a number or null")
    return float(value)


def _by_channel(config: Mapping[str, Any], name: str, where: str, channels: int) -> Tensor | None:
    values = config.get(name)
    if values is None:
        return None
    numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    if not numbers or len(values) != channels:
        raise InputError(f"{where}: {name} should hold {channels} numbers, one per latent channel, or be null")
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
