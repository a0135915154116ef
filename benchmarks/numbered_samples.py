"""A plugin file: any number of samples that cost nothing to make, and encoders whose latents and states are tiny."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dit_run import Component, Kind, hookimpl
from dit_run.protocols import FileRange, Sample
from dit_run_plugins.text_encoders.words import Words
from dit_run_plugins.text_encoders.words.text_encoder import WordsTextEncoder

CAPTIONS = 50
SIZES = ((16, 16), (24, 8), (8, 24))


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """Samples by number."""

    path: str
    """A file with the bytes of all images; they are no images, because a start with a complete cache decodes none."""
    image_bytes: int
    """Bytes of each image."""


@dataclass(frozen=True)
class NumberedSamples:
    path: Path
    image_bytes: int
    count: int
    identity: str

    @property
    def images_identity(self) -> str:
        return self.identity

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        image = FileRange(self.path, index * self.image_bytes, self.image_bytes, "image")
        return Sample(f"{index:09d}", (f"caption {index % CAPTIONS}",), image)

    def keys(self) -> Iterator[str]:
        return (f"{index:09d}" for index in range(self.count))

    def image_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array(SIZES, dtype=np.int64)[indices % len(SIZES)]


def build_samples(options: Numbered) -> NumberedSamples:
    path = Path(options.path)
    count = path.stat().st_size // options.image_bytes
    return NumberedSamples(path, options.image_bytes, count, f"numbered {count} {path.stat().st_mtime_ns}")


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean colours of squares of 8 pixels."""


class MeanColours(nn.Module):
    latent_channels, factor, cacheable, posterior = 3, 8, True, False

    def __init__(self, options: Mean) -> None:
        super().__init__()

    def encode(self, images: Tensor) -> tuple[Tensor, None]:
        return nn.functional.avg_pool2d(images, self.factor), None

    def decode(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents, scale_factor=self.factor).clamp(-1, 1)

    def fingerprint(self) -> str:
        return "mean-colours-of-8"


class FrozenWords(WordsTextEncoder):
    trainable = False


def build_words(options: Words) -> FrozenWords:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FrozenWords(options).requires_grad_(False).eval()


@hookimpl
def dit_run_components() -> Sequence[Component]:
    return [
        Component(Kind.DATASET, "numbered", Numbered, build_samples),
        Component(Kind.VAE, "mean_colours", Mean, MeanColours),
        Component(Kind.TEXT_ENCODER, "frozen_words", Words, build_words),
    ]
