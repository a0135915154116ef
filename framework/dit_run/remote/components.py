"""Components of an exported pipeline: the parts of a run as classes that diffusers loads from a folder.

An export copies these classes into the code of a component and adds a subclass with the factory and the options of the
run. They run without dit-run, so they import nothing that a program with torch, diffusers and transformers lacks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from safetensors.torch import load_file
from torch import Tensor

from dit_run.model.latent_normalization import LatentNormalization
from dit_run.protocols import Scheduler, TextStates, Tokens

__all__ = ["ExportedModel", "ExportedScheduler", "ExportedTextEncoder", "ExportedVae"]

TRAINED = "trained/weights.safetensors"
"""File of the weights of a text encoder that was trained. diffusers downloads a component with its subfolders only if
there are no weights in the folder itself."""


class ExportedModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The model of a run. Its weights have the run's names after ``network.``."""

    factory: Callable[..., Any]
    options: Any

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, keywords: dict[str, Any] | None = None) -> None:
        """Build the model from its options; ``keywords`` are those that describe the latents and the text states."""
        super().__init__()
        given = {name: _as_given(value) for name, value in (keywords or {}).items()}
        self.network = type(self).factory(self.options, **given)
        self.patch_size: int = self.network.patch_size
        self.scalars: tuple[str, ...] = tuple(getattr(self.network, "scalars", ()))
        self.routes: bool = getattr(self.network, "routes", False)

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates, *scalars: Tensor, **kept: Tensor) -> Tensor:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n] in [0, 1000]."""
        output: Tensor = self.network(latents, timesteps, text, *scalars, **kept)
        return output


def _as_given(value: Any) -> Any:
    """Return a value of JSON as it was given: widths of several encoders are a tuple."""
    return tuple(value) if isinstance(value, list) else value


class ExportedFrozenPart(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A text encoder or a VAE, whose pretrained files are in its folder or have a name of their own."""

    factory: Callable[..., Any]
    options: Any
    pretrained: Mapping[str, str]
    """The place in the component's folder that each option of pretrained files names."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, folder: str = ".") -> None:
        """Build the part from its options and the files in ``folder``."""
        super().__init__()
        places = {name: str(Path(folder) / place) for name, place in self.pretrained.items()}
        self.network = type(self).factory(dataclasses.replace(self.options, **places))
        self.register_buffer("place", torch.zeros(()), persistent=False)  # has device and dtype if nothing else does

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        torch_dtype: torch.dtype | None = None,
        device_map: str | Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Self:
        """Return the part of a folder, in this dtype and on the only device of ``device_map``."""
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        values = {name: value for name, value in config.items() if name != "folder" and not name.startswith("_")}
        part: Self = cls(folder=str(folder), **values)
        if (Path(folder) / TRAINED).is_file():
            part.load_state_dict(load_file(Path(folder) / TRAINED))
        device = device_map if device_map is None or isinstance(device_map, str) else device_map[""]
        part.requires_grad_(False).eval()
        if device is not None:
            part.to(device)
        if torch_dtype is not None:
            torch.nn.Module.to(part, torch_dtype)  # ModelMixin's own warns of layers that it might keep in float32
        return part


class ExportedTextEncoder(ExportedFrozenPart):
    """The text encoder of a run; see ``tokenize`` and ``forward``."""

    def __init__(self, folder: str = ".") -> None:
        super().__init__(folder=folder)
        self.trainable: bool = self.network.trainable
        self.width: int = self.network.width
        self.pooled_width: int = self.network.pooled_width
        self.max_length: int = self.network.max_length

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Return the token ids of captions."""
        tokens: Tokens = self.network.tokenize(captions)
        return tokens

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return token states [n, l, d] and pooled vectors for ids and mask [n, l]."""
        states: tuple[Tensor, Tensor] = self.network(ids, mask)
        return states


class ExportedVae(ExportedFrozenPart):
    """The autoencoder of a run: its decoder."""

    cacheable = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        folder: str = ".",
        latent_mean: Sequence[float] | None = None,
        latent_deviation: Sequence[float] | None = None,
    ) -> None:
        """Build the autoencoder; mean and deviation by channel are those of the latents before normalisation."""
        super().__init__(folder=folder)
        self.latent_channels: int = self.network.latent_channels
        self.factor: int = self.network.factor
        self.normalization = LatentNormalization(self.latent_channels)
        if latent_mean is not None and latent_deviation is not None:
            self.normalization.set(latent_mean, latent_deviation)

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def decode(self, latents: Tensor) -> Tensor:
        """Return images [n, 3, H, W] in [-1, 1] from latents [n, c, h, w]."""
        images: Tensor = self.network.decode(self.normalization.undone(latents))
        return images


class ExportedScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """The noise process of a run with its samplers."""

    factory: Callable[..., Any]
    options: Any

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_shape: Sequence[int] | None = None, takes_shape: bool = False) -> None:
        """``latent_shape`` (c, h, w) is that of training; None with ``takes_shape`` takes the shape of each image."""

    def process(self, shape: Sequence[int]) -> Scheduler:
        """Return the noise process for latents (c, h, w)."""
        settings = self.config
        keywords = {"latent_shape": tuple(settings.latent_shape or shape)} if settings.takes_shape else {}
        built: Scheduler = type(self).factory(self.options, **keywords)
        return built
