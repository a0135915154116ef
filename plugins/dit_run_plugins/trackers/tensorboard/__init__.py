"""tensorboard: curves, images and the config in the run folder's ``tensorboard``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TensorBoard"]


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Curves, sample grids and the resolved config, for `tensorboard --logdir`."""
