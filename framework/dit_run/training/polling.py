"""Polling: a function that is called before each call of a model, while the run is watched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

__all__ = ["polled"]


@contextlib.contextmanager
def polled(modules: Iterable[nn.Module], poll: Callable[[], None]) -> Iterator[None]:
    """Call ``poll`` before each forward of these modules in this context; an exception of it ends the forward."""

    def before(module: nn.Module, inputs: Any) -> None:
        poll()

    handles = [module.register_forward_pre_hook(before) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
