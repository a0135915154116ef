"""Cross-field rules: checks of a config beyond its schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dit_run.problems import Problem
    from dit_run.settings import Config

__all__ = ["Adjustment", "Facts", "Rule", "RuleContext"]


@dataclass(frozen=True)
class Facts:
    """Facts that the config alone does not show; None until data and weights are read."""

    total_steps: int | None = None
    """Optimizer steps of the whole run. Before data is read: ``training.max_steps`` as an upper bound, or None."""
    samples: int | None = None
    """Training samples."""
    latent_channels: int | None = None
    latent_factor: int | None = None
    """Side of the images divided by that of their latents."""
    cached: bool | None = None
    """True if the cache holds the output of at least one of the encoders."""
    frozen_text: bool | None = None
    """True if at least one of the text encoders is frozen."""
    downloads: bool = False
    """True where a rule may read files from a hub: in a run, a check and a plan, but not when a config is validated."""


@dataclass(frozen=True)
class Adjustment:
    """A better value for a key that has its default; shown to the user as a notice, unless it is ``quiet``."""

    path: tuple[str | int, ...]
    value: Any
    reason: str
    quiet: bool = False
    """True for a value that the documentation of the key announces."""


@dataclass(frozen=True)
class RuleContext:
    """Arguments of a cross-field rule."""

    config: Config
    path: tuple[str | int, ...]
    """Path of the component in the config: ``("optimizer",)``, ``("trackers", 0)``."""
    options: Any
    """The component's own options."""
    facts: Facts
    written: frozenset[tuple[str | int, ...]]
    """The keys that the user wrote; all others have their defaults."""


class Rule(Protocol):
    """A cross-field check: returns problems and adjustments, imports nothing heavy, reads small files at most."""

    def __call__(self, context: RuleContext) -> Iterable[Problem | Adjustment]: ...
