"""Adapters: small changes that are trained in place of a model's own weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Adapter"]


class Adapter(Protocol):
    """``build(options) -> Adapter``.

    The object keeps nothing of a model: averages are adapted models too, copies of the one that trains. Checkpoints of
    a run with an adapter have its parameters alone, and the digest of the base. The base is all other weights: those of
    the model, pretrained or from ``training.init_from``, and those of text encoders that train without an adapter.
    """

    def add(self, model: nn.Module) -> None:
        """Add the adapter's parameters to a model, in place, float32, so that they train.

        No parameter of the model takes gradients before, and none of its own may afterwards; their values stay. The
        model has its base weights, or is on the meta device, where weights have shapes and no values. The first output
        should be that of the base. Random numbers come from torch's generator, which the core seeds. Raises InputError
        for options that do not fit the model, such as targets that it does not have.
        """
        ...

    def merged(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Return the state_dict that the model had before :meth:`add`, with the adapter's changes in its weights."""
        ...

    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        """Write the adapter of a model for other programs into a folder that exists, its weights in a precision.

        ``base`` is the name on a hub of the base weights, None where they have none.
        """
        ...
