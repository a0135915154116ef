"""Tar shards in the WebDataset layout: images with captions, read in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from dit_run.data.caption_weights import sample_weights
from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import FileRange, LeftOut, Sample
from dit_run_plugins.datasets.shard_files import shard_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.tar_index import TarIndex
    from dit_run.protocols import Dataset

__all__ = ["WebDataset", "build"]


@dataclass(frozen=True, kw_only=True)
class WebDataset:
    """Tar archives whose members with one name are a sample: `0001.jpg` with `0001.txt` or `0001.json`, or both.

    A `.json` member holds the caption under `captions` (a list), `caption`, `text` or `prompt`, and may weight
    captions under `weights`. Nothing is unpacked.
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """A folder with `.tar` files, or a pattern of their paths such as `shards/train-*.tar` or
    `shards/train-{00000..00099}.tar`."""
    captions: Literal["lines", "whole"] = "lines"
    """Content of a `.txt` member: one caption per line, of which each visit uses one, or one caption as a whole."""


@dataclass(frozen=True)
class TarShards:
    """A dataset of images in shards; a sample's key is the name of its shard and of the image in it."""

    shards: tuple[Path, ...]
    shard_of: NDArray[np.int32]
    """Number of the shard of each image."""
    index: TarIndex
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        index, shard = self.index, self.shards[self.shard_of[number]]
        name, first, end = index.names[number], int(index.starts[number]), int(index.starts[number + 1])
        image = FileRange(shard, int(index.offsets[number]), int(index.sizes[number]), name)
        texts = tuple(index.captions[place] for place in range(first, end))
        return Sample(f"{shard.name}/{name}", texts, image, sample_weights(index.weights[first:end].tolist()))


def build(options: WebDataset, *, on_bad_sample: str = "error") -> Dataset:
    """Return the dataset of all images with captions.

    Raises InputError naming shard and member if anything is missing or broken.
    """
    import numpy as np

    from dit_run.data.tar_index import TarIndex, index_tars

    shards = tuple(shard_files(options.dataset_path, ".tar"))
    parts = index_tars(shards, whole=options.captions == "whole")
    index = TarIndex.joined(parts)
    bare = index.without_caption
    if len(bare) and (on_bad_sample == "error" or not len(index)):
        count = f"; {len(bare):,} of {len(bare) + len(index):,} images have none" if len(bare) > 1 else ""
        raise InputError(
            f"{bare[0]} has no caption: add a .txt or .json member of the same name next to it, or set "
            f"data.on_bad_sample: skip to leave out such images{count}"
        )
    if not len(index):
        raise InputError(f"data.dataset_path: the {len(shards)} shards of {options.dataset_path} hold no image")
    shard_of = np.repeat(np.arange(len(shards), dtype=np.int32), [len(part) for part in parts])
    return TarShards(shards, shard_of, index, tuple(_left_out(index)))


def _left_out(index: TarIndex) -> Iterator[LeftOut]:
    for reason, names in (
        ("image without a caption", index.without_caption),
        ("caption without an image", index.without_image),
    ):
        if len(names):
            yield LeftOut(reason, len(names), names[0])
