"""A small component of each kind, with options of every sort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run import Component, Kind
from dit_run.options import (
    HubOrPath,
    LocalPath,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
    Secret,
    bounds,
    instead_of,
)
from dit_run.registry.registry import Origin, Plugin


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Takes no options."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Images in a folder."""

    dataset_path: Annotated[str, LocalPath]
    """Where they are."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images drawn on the fly."""

    colours: tuple[str, ...] = ("red", "blue")
    """The colours."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network."""

    width: PositiveInt = 64
    """Its width."""
    in_channels: PositiveInt = 4
    """Latent channels."""
    patch_size: PositiveInt = 2
    """Patch side."""
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.1
    """Its dropout."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights from somewhere."""

    name: Annotated[str, HubOrPath] = "someone/something"
    """Hub name or folder."""


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent."""

    momentum: float = 0.9
    """Share of the last update."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.999)
    """Two numbers."""
    eps: PositiveFloat = 1e-8
    """A small number."""
    nesterov: bool = False
    """Look ahead."""
    clip: Annotated[int, bounds(ge=1)] | None = None
    """A limit."""


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Evolved sign momentum."""

    momentum: float = 0.95
    """Share of the last update."""
    decay: float = 0.0
    """Weight decay."""


@dataclass(frozen=True, kw_only=True)
class Warm:
    """Warm-up."""

    warmup_steps: NonNegativeInt | None = 500
    """Steps."""
    warmup: Annotated[float | None, bounds(ge=0, lt=1), instead_of("warmup_steps")] = None
    """Share."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A tracker with a key."""

    key: Annotated[str | None, Secret] = None
    """The key to the service."""
    mode: Literal["online", "offline"] = "online"
    """Whether it sends."""
    every: Annotated[PositiveInt, Operational] = 1
    """How often."""


COMPONENTS = (
    Component(Kind.DATASET, "coco", Drawn, "nowhere:build"),
    Component(Kind.DATASET, "folder", Folder, "nowhere:build"),
    Component(Kind.TEXT_ENCODER, "clip", Pretrained, "nowhere:build"),
    Component(Kind.VAE, "autoencoder_kl", Pretrained, "nowhere:build"),
    Component(Kind.MODEL, "dit", Net, "nowhere:build"),
    Component(Kind.SCHEDULER, "ddpm", Nothing, "nowhere:build"),
    Component(Kind.OPTIMIZER, "adamw", Sgd, "nowhere:build"),
    Component(Kind.OPTIMIZER, "lion", Lion, "nowhere:build"),
    Component(
        Kind.LR_SCHEDULER, "cosine", Warm, "nowhere:build", ("dit_run_plugins.lr_schedulers.warmup:warmup_fits",)
    ),
    Component(Kind.OBJECTIVE, "denoising", Nothing, "nowhere:build"),
    Component(Kind.GUIDANCE, "cfg", Nothing, "nowhere:build"),
    Component(Kind.AVERAGE, "ema", Nothing, "nowhere:build"),
    Component(Kind.TRACKER, "tensorboard", Nothing, "nowhere:build"),
    Component(Kind.TRACKER, "remote", Remote, "nowhere:build"),
)


def plugin(name: str, *components: Component, origin: Origin = Origin.BUILT_IN) -> Plugin:
    return Plugin(name, origin, name, "dit-run", "1.0", components=components)
