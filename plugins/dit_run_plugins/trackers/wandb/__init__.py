"""wandb: curves, sample images and the config on Weights & Biases, or in files for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from dit_run.options import bounds

__all__ = ["Wandb"]


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """Curves, sample grids with their prompts and the config on Weights & Biases.

    Log in with `wandb login` or WANDB_API_KEY. Needs `pip install 'dit-run[wandb]'`.
    """

    project: Annotated[str, bounds(min_length=1)] = "dit-run"
    """Project of the run."""
    entity: str | None = None
    """User or team that owns the project; null takes your default."""
    name: str | None = None
    """Name of the run; null takes that of the run folder."""
    group: str | None = None
    """Group of runs that belong together."""
    tags: tuple[str, ...] = ()
    """Tags of the run."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes to `wandb` in the run folder, which `wandb sync` uploads later."""
