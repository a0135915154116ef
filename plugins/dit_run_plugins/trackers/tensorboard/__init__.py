"""tensorboard: curves, images and the config in the run folder's ``tensorboard``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TensorBoard"]


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Curves, sample grids with their prompts, the resolved config and a row of the HParams tab, for TensorBoard.

    `tensorboard --logdir` shows them.
    """
