"""Features of images by a frozen vision model of transformers or timm, on a grid that the caller chooses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_run.digests import combined
from dit_run.hub import TRANSFORMERS, Pretrained, WeightFiles
from dit_run.problems import InputError
from dit_run_plugins.frozen_networks import LazyNetwork, load_transformers_network
from dit_run_plugins.objectives.timm_states import TimmStates, any_size
from dit_run_plugins.timm_models import TimmInput, build_timm, is_timm, load_timm

__all__ = ["ImageFeatures"]

_VERSION = 1
"""Increased by hand when the same files give other features."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: for a model without a preprocessor_config.json."""


class ImageFeatures(LazyNetwork):
    """Implements :class:`dit_run.protocols.ImageEncoder`: the last states of a vision model, one for each position.

    An image of H x W pixels gives H / factor x W / factor positions. It is resized so that the model's own patches are
    these positions; a model without patches gets the image as it is, and its states are averaged to the positions.
    """

    cacheable = True

    def __init__(self, weights: Pretrained, factor: int) -> None:
        """Find or download the files; the weights are loaded at the first call. Raises InputError if it fails."""
        files = weights.weight_files(TRANSFORMERS)
        config = weights.object("config.json")
        super().__init__(partial(_load, weights, files, config))
        self.factor = factor
        self._patch, self.latent_channels = _patch_and_width(weights, config)
        self._fingerprint = partial(_fingerprint, files, config, factor)
        mean, std = _normalisation(weights, config)
        self._mean: Tensor
        self._std: Tensor
        self.register_buffer("_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        """Return float [n, width, H / factor, W / factor] for images [n, 3, H, W] in [-1, 1]; may take gradients."""
        rows, columns = (side // self.factor for side in images.shape[-2:])
        if self._patch:
            size = (rows * self._patch, columns * self._patch)
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        states = self((images / 2 + 0.5 - self._mean) / self._std)
        if states.ndim == 4:
            return F.adaptive_avg_pool2d(states, (rows, columns)), None
        return states[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns)), None

    def fingerprint(self) -> str:
        return self._fingerprint()


def _fingerprint(files: WeightFiles, config: Mapping[str, Any], factor: int) -> str:
    return combined(["image features", _VERSION, files.digest(), dict(config), factor])


class _LastStates(nn.Module):
    """A vision model of transformers whose output is the last states, [n, positions, d] or [n, d, rows, columns]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = getattr(network, "vision_model", network)
        parameters = inspect.signature(self.network.forward).parameters
        self._more = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in parameters else {}

    def forward(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.network(pixel_values=pixels, **self._more).last_hidden_state
        return states


def _load(weights: Pretrained, files: WeightFiles, config: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoModel

    if is_timm(config):
        return TimmStates(load_timm(weights, files, config, **any_size(weights, config)))
    return _LastStates(load_transformers_network(AutoModel, weights, files, "a vision model"))


def _build(weights: Pretrained, config: Mapping[str, Any]) -> _LastStates | TimmStates:
    from transformers import AutoConfig, AutoModel

    if is_timm(config):
        return TimmStates(build_timm(weights, config, **any_size(weights, config)))
    return _LastStates(AutoModel.from_config(AutoConfig.for_model(**config)).eval())


@torch.no_grad()
def _patch_and_width(weights: Pretrained, config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the side of a patch (pixels), 0 for none, and the width of the states, from an image without values.

    Raises InputError for another kind of model.
    """
    try:
        with torch.device("meta"):
            network = _build(weights, config)
            patch = network.patch if isinstance(network, TimmStates) else _patch_size(config)
            states = network(torch.empty(1, 3, 2 * patch or 64, 3 * patch or 96))
    except InputError:
        raise
    except Exception as error:  # a model of another kind fails in any way
        raise weights.error(f"is not a vision model that takes images of any size: {error}") from error
    return patch, int(states.shape[2] if states.ndim == 3 else states.shape[1])


def _vision(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of the vision model, which is a part of that of a CLIP or SigLIP."""
    part = config.get("vision_config")
    return part if isinstance(part, dict) else config


def _patch_size(config: Mapping[str, Any]) -> int:
    """Return the side of a patch in pixels; 0 for a model without patches of one side."""
    patch = _vision(config).get("patch_size")
    return patch if isinstance(patch, int) and "hidden_size" in _vision(config) else 0


def _normalisation(weights: Pretrained, config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for values in [0, 1]."""
    if is_timm(config):
        given = TimmInput.of(weights, config)
        return given.mean, given.std
    file = weights.find("preprocessor_config.json", "processor_config.json")
    if file is None:
        return _MEAN, _STD
    values = weights.object(file.name)
    values = values.get("image_processor", values)
    try:
        mean, std = (tuple(float(value) for value in values[name]) for name in ("image_mean", "image_std"))
    except (KeyError, TypeError, ValueError) as error:
        raise weights.error(f"has a {file.name} without usable values: {error!r}") from error
    return mean, std
