"""lora: low-rank changes of linear layers, by the package peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dit_run.options import PositiveFloat, PositiveInt, bounds

__all__ = ["Lora"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    """LoRA (Hu et al. 2022): each chosen layer gets a trained product of two small matrices next to its own weight.

    Needs `pip install 'dit-run[lora]'`.
    """

    rank: PositiveInt = 16
    """Inner width of the two matrices."""
    alpha: PositiveFloat | None = None
    """The product is multiplied by alpha / rank. null means the rank, so that it is taken as it is."""
    targets: tuple[str, ...] = ()
    """Patterns of linear and convolution layers: `blocks.*.self_attention` names all in a part of each block, and each
    `*` stands for any text. If empty, all linear layers of the repeated blocks."""
    dropout: Annotated[float, bounds(ge=0, lt=1)] = 0.0
    """Dropout rate in training on the input of the two matrices."""
    use_dora: bool = False
    """Train the length of each row of a layer's weight apart from its direction (DoRA, Liu et al. 2024)."""
