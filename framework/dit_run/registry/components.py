"""Components: what a plugin offers, and the closed set of kinds that a config is made of."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dit_run.options import options_of

__all__ = ["Component", "Kind"]


class Kind(StrEnum):
    """What a component is for. :mod:`dit_run.protocols` says for each kind what its factory gets and returns."""

    DATASET = "dataset"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    MODEL = "model"
    SCHEDULER = "scheduler"
    OPTIMIZER = "optimizer"
    LR_SCHEDULER = "lr_scheduler"
    TRACKER = "tracker"
    METRIC = "metric"
    CALLBACK = "callback"

    @property
    def section(self) -> str:
        """The top-level key of a config that chooses components of this kind."""
        return _SECTIONS.get(self, self.value)

    @property
    def listed(self) -> bool:
        """Whether its section is a list of components."""
        return self in (Kind.TRACKER, Kind.METRIC, Kind.CALLBACK)

    @property
    def default_type(self) -> str | None:
        """The type that holds where a config writes none; lists have none."""
        return _DEFAULTS.get(self)


_SECTIONS = {Kind.DATASET: "data", Kind.TRACKER: "trackers", Kind.METRIC: "metrics", Kind.CALLBACK: "callbacks"}
_DEFAULTS = {
    Kind.DATASET: "coco",
    Kind.TEXT_ENCODER: "clip",
    Kind.VAE: "autoencoder_kl",
    Kind.MODEL: "dit",
    Kind.SCHEDULER: "ddpm",
    Kind.OPTIMIZER: "adamw",
    Kind.LR_SCHEDULER: "cosine",
}


@dataclass(frozen=True)
class Component:
    """One type of one kind: the name a config uses, the keys it takes, and how to make it.

    Raises TypeError or ValueError at construction when a part is not of the shape described here.
    """

    kind: Kind
    type: str
    """The name a config uses: lower-case letters, digits and underscores."""
    options: builtins.type
    """A frozen keyword-only dataclass; its fields are the config keys. See :mod:`dit_run.options`."""
    factory: str | Callable[..., Any]
    """``"package.module:build"``, imported only when a config uses the type; or the callable itself.
    Called as ``build(options, **runtime)`` with those runtime keywords of the kind that it declares."""
    rules: tuple[str, ...] = ()
    """``"package.module:function"`` cross-field checks, light to import: ``function(context) -> Iterable[Problem]``.
    See :class:`dit_run.protocols.Rule`."""

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            if self.kind in list(Kind):
                name = Kind(self.kind).name
                raise TypeError(f"component {self.type!r}: the kind is written Kind.{name}, not {self.kind!r}")
            known = ", ".join(Kind)
            raise TypeError(f"component {self.type!r}: unknown kind {self.kind!r}; the kinds are {known}")
        if not (isinstance(self.type, str) and self.type.isidentifier() and self.type == self.type.lower()):
            raise ValueError(
                f"component {self.kind}.{self.type}: a type is made of lower-case letters, digits and underscores"
            )
        options_of(self.options)
        for reference in (self.factory, *self.rules):
            if isinstance(reference, str) and not _is_reference(reference):
                raise ValueError(f"component {self.name}: {reference!r} should read 'package.module:function'")
        if not (isinstance(self.factory, str) or callable(self.factory)):
            raise TypeError(f"component {self.name}: factory is {self.factory!r}, neither a reference nor callable")

    @property
    def name(self) -> str:
        """``kind.type``, as commands name it."""
        return f"{self.kind}.{self.type}"


def _is_reference(text: str) -> bool:
    module, colon, function = text.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
