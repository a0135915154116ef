"""Taps: the states of named blocks during a forward pass, for losses on what lies between input and output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

__all__ = ["tap_names", "tapped"]


def tap_names(model: nn.Module) -> tuple[str, ...]:
    """What can be tapped: ``blocks.0``, ``blocks.1`` …, by the path of the module."""
    blocks = model.get_submodule("blocks")
    return tuple(f"blocks.{name}" for name, _ in blocks.named_children())


@contextmanager
def tapped(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collects the states [n, patches, d] that the named blocks return while the context lasts; gradients flow.

        with tapped(model, ["blocks.3"]) as states:
            output = model(latents, timesteps, text)
        loss = loss + alignment(states["blocks.3"])

    Raises ValueError for a name that is none of :func:`tap_names`.
    """
    known = tap_names(model)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no block {', '.join(unknown)}; the model has {', '.join(known)}")
    states: dict[str, Tensor] = {}
    hooks = [model.get_submodule(name).register_forward_hook(_keep(states, name)) for name in names]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _keep(states: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
        states[name] = output

    return hook
