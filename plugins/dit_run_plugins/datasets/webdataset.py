"""Tar shards in the WebDataset layout: images with captions, read in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import LeftOut, Recognised, Sample
from dit_run_plugins.datasets.shard_files import recognised, shards_of
from dit_run_plugins.datasets.sharded_samples import ShardedSamples, ShardToIndex, identity_of, starts_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.column_files import Columns
    from dit_run.data.shard_cache import ShardCache
    from dit_run.data.tar_index import TarIndex
    from dit_run.protocols import Dataset

__all__ = ["WebDataset", "build"]


@dataclass(frozen=True, kw_only=True)
class WebDataset:
    """Tar archives whose members with one name are a sample: `0001.jpg` with `0001.txt` or `0001.json`, or both.

    A `.json` member holds the caption under `captions` (a list), `caption`, `text` or `prompt`, and may weight
    captions under `weights`; numbers that `model.scalars` names are read from it, too. Nothing is unpacked.
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """A folder with `.tar` files (if none lies in it directly, those in the folders in it), a pattern of their paths
    such as `shards/train-*.tar` or `shards/train-{00000..00099}.tar`, or URLs such as `https://host/{000..099}.tar` or
    `s3://bucket/folder`, which need `pip install 'dit-run[remote]'`."""
    captions: Literal["lines", "whole"] = "lines"
    """Content of a `.txt` member: one caption per line, of which each visit uses one, or one caption as a whole."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        return recognised(place, ".tar", "tar shards")


@dataclass(frozen=True)
class TarShard(ShardToIndex):
    """A tar archive that can be indexed."""

    whole: bool
    """True if a `.txt` member is one caption."""
    scalars: tuple[str, ...] = ()
    """Names of the numbers that are read from `.json` members."""

    @property
    def identity(self) -> list[Any]:
        """Everything that decides the index."""
        from dit_run.data.tar_index import INDEX_VERSION

        return ["tar", INDEX_VERSION, *self.source.identity, self.whole, *self.scalars]

    def build(self) -> Columns:
        """Read the shard. Raises InputError."""
        from dit_run.data.tar_index import index_tar

        return index_tar(self.source.opened, str(self.source), whole=self.whole, scalars=self.scalars).columns


@dataclass(frozen=True, eq=False)
class TarShards(ShardedSamples):
    """A dataset of images in shards; a sample's key is the name of its shard and of the image in it."""

    indices: tuple[TarIndex, ...]
    """Index of each shard."""

    def __getitem__(self, number: int) -> Sample:
        at, place = self.placed(number)
        shard, index = self.shards[at], self.indices[at]
        name = index.names[place]
        texts, weights = index.captions[place]
        image = shard.part(int(index.offsets[place]), int(index.sizes[place]), name)
        scalars = {} if index.scalars is None else index.scalars[place]
        return Sample(f"{shard.name}/{name}", texts, image, weights, scalars)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all samples."""
        for shard, index in zip(self.shards, self.indices, strict=True):
            yield from (f"{shard.name}/{name}" for name in index.names)

    def image_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return height and width of the images of samples, as their headers say; 0 where those cannot be read."""
        import numpy as np

        sizes = np.empty((len(indices), 2), dtype=np.int64)
        for at, chosen, places in self.grouped(indices):
            sizes[chosen] = self.indices[at].dimensions[places]
        return sizes


def build(
    options: WebDataset,
    *,
    on_bad_sample: str = "error",
    scalars: Sequence[str] = (),
    shard_cache: ShardCache | None = None,
) -> Dataset:
    """Return the dataset of all images with captions.

    Raises InputError naming shard and member if anything is missing or broken.
    """
    from dit_run.data.shard_indices import indices_of
    from dit_run.data.tar_index import TarIndex

    sources = shards_of(options.dataset_path, ".tar", shard_cache)
    shards = [TarShard(source, options.captions == "whole", tuple(scalars)) for source in sources]
    indices = tuple(TarIndex(columns, scalars) for columns in indices_of(shards))
    starts = starts_of(indices)
    bare = [name for index in indices for name in index.without_caption]
    if bare and (on_bad_sample == "error" or not starts[-1]):
        count = f"; {len(bare):,} of {len(bare) + starts[-1]:,} images have none" if len(bare) > 1 else ""
        skipping = ", or set data.on_bad_sample: skip to leave out such images" if starts[-1] else ""
        raise InputError(
            f"{bare[0]} has no caption: add a .txt or .json member of the same name next to it{skipping}{count}"
        )
    if not starts[-1]:
        raise InputError(f"data.dataset_path: the {len(shards)} shards of {options.dataset_path} hold no image")
    alone = [name for index in indices for name in index.without_image]
    reasons = (("image without a caption", bare), ("caption without an image", alone))
    left_out = tuple(LeftOut(reason, len(names), names[0]) for reason, names in reasons if names)
    return TarShards(sources, starts, left_out, identity_of(shards), indices)
