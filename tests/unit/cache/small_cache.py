"""A dataset on disk for tests of the cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dit_run.cache.builder import Build
from dit_run.cache.caption_states import CaptionWork
from dit_run.cache.image_reader import ImageReader
from dit_run.cache.latents import examined
from dit_run.cache.lookup import CaptionCache, LatentCache
from dit_run.protocols import VAE, Sample, TextEncoder
from dit_run.registry.kind_options import DatasetCommon

__all__ = ["COMMON", "Folder", "Harmful", "keep_captions", "keep_latents", "paint"]

COMMON = DatasetCommon(image_size=16)


@dataclass(frozen=True)
class Folder:
    """Pictures of a folder; each has two captions, one of which all share."""

    path: Path

    def __len__(self) -> int:
        return len(list(self.path.glob("*.png")))

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index}", (f"caption {index}", "shared"), self.path / f"{index}.png")


@dataclass(frozen=True)
class Harmful:
    """Drawn pictures, the first of which does something to the process that reads it."""

    signal: int

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"{index}", ("a",), partial(self._draw, index))

    def _draw(self, index: int) -> Image.Image:
        if index == 0:
            os.kill(os.getpid(), self.signal)
        return Image.new("RGB", (16, 16), (index,) * 3)


def paint(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def keep_captions(build: Build, encoder: TextEncoder, captions: Iterable[str]) -> CaptionCache:
    return CaptionWork.of(build, encoder, captions).keep()


def keep_latents(
    build: Build, vae: VAE, reader: ImageReader, indices: Sequence[int], size: tuple[int, int] = (16, 16)
) -> LatentCache:
    with examined(build, vae, reader, indices, size) as work:
        return work.keep()
