"""Vision models of timm: built by their config.json, loaded completely or not at all, and how images are prepared.

The wrapper of transformers is not used: it refuses the folders that newer versions of timm write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import nn

from dit_run.hub import Pretrained, WeightFiles
from dit_run_plugins.frozen_networks import refuse_incomplete

__all__ = ["TimmInput", "build_timm", "is_timm", "load_timm"]

_SIZE, _SHARE, _INTERPOLATION = (3, 224, 224), 0.875, "bicubic"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Values that timm takes where its config.json lacks them."""


def is_timm(config: Mapping[str, Any]) -> bool:
    """Return True for a config.json that timm wrote."""
    return "pretrained_cfg" in config


def build_timm(weights: Pretrained, config: Mapping[str, Any], **settings: Any) -> Any:
    """Return the model of a config.json without its classifier, in eval mode, with random weights.

    Raises InputError if timm, or the torchvision it needs, does not import, or if timm cannot build the model.
    """
    timm = _timm(weights)
    try:
        arguments = {**(config.get("model_args") or {}), **settings, "num_classes": 0}
        return timm.create_model(config["architecture"], **arguments).eval()
    except Exception as error:  # the arguments go to any of many models
        raise weights.error(f"is not a model that timm {timm.__version__} builds: {error!r}") from error


def load_timm(weights: Pretrained, files: WeightFiles, config: Mapping[str, Any], **settings: Any) -> nn.Module:
    """Return the model as :func:`build_timm` does, with its weights and without gradients.

    Raises InputError for weights that are not all those of the model.
    """
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build_timm(weights, config, **settings)
    given, expected = files.tensors(), network.state_dict()
    shapes = [(name, given[name].shape, tensor.shape) for name, tensor in expected.items() if name in given]
    mismatched = [each for each in shapes if each[1] != each[2]]
    refuse_incomplete(weights, files, "a vision model", mismatched, expected.keys() - given.keys())
    network.load_state_dict(given, strict=False)  # files have the classifier, too
    return network.requires_grad_(False)


def _timm(weights: Pretrained) -> Any:
    try:
        return import_module("timm")
    except (ImportError, OSError, RuntimeError) as error:  # a torchvision for another torch raises any of them
        raise weights.error(
            f"is a model of timm, and the package timm cannot be imported ({error}): pip install 'dit-run[timm]'. "
            f"It needs the torchvision that was built for torch {torch.__version__}, from the same index of packages"
        ) from error


@dataclass(frozen=True)
class TimmInput:
    """Preparation of images for a model of timm; for square images all its modes of cropping are one."""

    side: int
    """Side (pixels) of the images that the model takes."""
    resized: int
    """Side (pixels) to which an image is resized before its centre is cut out."""
    resample: Image.Resampling
    mean: tuple[float, ...]
    """Mean of each channel, for values in [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation of each channel."""

    @classmethod
    def of(cls, weights: Pretrained, config: Mapping[str, Any]) -> TimmInput:
        """Read the content of config.json. Raises InputError for a value that is not usable."""
        try:
            return cls._of({name: value for name, value in config["pretrained_cfg"].items() if value is not None})
        except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise weights.error(f"has a config.json of timm without usable values: {error!r}") from error

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> TimmInput:
        channels, height, side = values.get("input_size", _SIZE)
        if (channels, height) != (3, side):
            raise ValueError(f"input_size {[channels, height, side]} is not that of square images in colour")
        resized = math.floor(side / values.get("crop_pct", _SHARE))
        resample = Image.Resampling[values.get("interpolation", _INTERPOLATION).upper()]
        mean, std = (tuple(map(float, values.get(*each))) for each in (("mean", _MEAN), ("std", _STD)))
        if not len(mean) == len(std) == channels:
            raise ValueError(f"mean {mean} and std {std} are not {channels} numbers each")
        return cls(side, resized, resample, mean, std)
