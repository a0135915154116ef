"""A plugin file: encoders that are frozen and cheap, so that caches are built in a moment; one may lose its process."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import torch
from torch import Tensor

from dit_run import Component, Kind, hookimpl
from dit_run_plugins.text_encoders.words import Words
from dit_run_plugins.text_encoders.words.text_encoder import WordsTextEncoder
from dit_run_plugins.vaes.identity.vae import IdentityVae


@dataclass(frozen=True, kw_only=True)
class FrozenPixels:
    """The pixels, cached like latents."""

    loses: str = ""
    """Rank of a process that is killed at its third image; empty for none."""


class FrozenPixelsVae(IdentityVae):
    cacheable = True

    def __init__(self, options: FrozenPixels) -> None:
        super().__init__()
        self._loses, self._encoded = options.loses, 0

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        self._encoded += 1
        if self._encoded == 3 and self._loses == os.environ.get("RANK"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(images)


class FrozenWords(WordsTextEncoder):
    trainable = False


def build_words(options: Words) -> FrozenWords:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FrozenWords(options).requires_grad_(False).eval()


@hookimpl
def dit_run_components() -> list[Component]:
    return [
        Component(Kind.VAE, "frozen_pixels", FrozenPixels, FrozenPixelsVae),
        Component(Kind.TEXT_ENCODER, "frozen_words", Words, build_words),
    ]
