"""The parts in their order, the most important first."""

from __future__ import annotations

from .attention import attention, backends
from .data import data, draws
from .loops import loop
from .peers import pixart, sampling
from .runs import continuation, fp16, latents, quickstart
from .steps import steps
from .trial import Part, Parts

__all__ = ["PARTS"]

PARTS: Parts = {
    "attention": Part(30, attention),
    **steps(compiled=False),
    "pixart": Part(100, pixart, ("diffusers",)),
    "loop": Part(60, loop, ("diffusers",)),
    "continuation": Part(45, continuation),
    **steps(compiled=True),
    "backends": Part(45, backends),
    "data": Part(45, data, ("diffusers",)),
    "sampling": Part(45, sampling, ("diffusers",)),
    "fp16": Part(30, fp16),
    "latents": Part(30, latents, ("diffusers",)),
    "draws": Part(20, draws),
    "quickstart": Part(200, quickstart),
}
