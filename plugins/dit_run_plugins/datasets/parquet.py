"""Parquet files with encoded images and captions, as img2dataset and Hugging Face write them, read in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.digests import Stat
from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import FilePart, LeftOut, Recognised, Sample
from dit_run_plugins.datasets.shard_files import recognised, shard_files, shards_of
from dit_run_plugins.datasets.sharded_samples import ShardedSamples, identity_of, starts_of
from dit_run_plugins.extras import import_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.shard_cache import ShardCache
    from dit_run.data.shard_sources import ShardSource
    from dit_run.protocols import Dataset
    from dit_run_plugins.datasets.parquet_index import ParquetIndex

__all__ = ["Parquet", "ParquetImage", "build"]

_GROUPS = 2
"""Row groups whose images each process keeps (number)."""
_reading = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """Parquet files with a column of encoded images, as bytes or as a struct with `bytes`, and columns of captions.

    A column `weight` or `weights` weights the captions of each row. Needs `pip install 'dit-run[parquet]'`. A row group
    is read as a whole: without a cache of latents, groups of about 100 rows are read quickest.
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """A file, a folder with `.parquet` files (if none lies in it directly, those in the folders in it), a pattern of
    their paths such as `data/train-*.parquet`, or URLs such as `hf://datasets/NAME/data/*.parquet`, which need
    `pip install 'dit-run[remote]'`."""
    image_column: str | None = None
    """Column of images; null takes the first of `image`, `jpg`, `jpeg`, `png`, `webp`, `img` and `image_bytes`."""
    caption_columns: tuple[str, ...] = ()
    """Columns of captions, each a text or a list of texts, all of which an image has. An empty list takes the first of
    `text`, `caption`, `captions`, `prompt` and `txt`."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        """Recognise parquet files, apart from tables that come with shards and have no images."""
        found = recognised(place, ".parquet", "parquet files")
        return found if found and (not Path(place).is_dir() or _has_images(place, cls())) else None


@dataclass(frozen=True)
class ParquetImage(FilePart):
    """An encoded image in a row of a parquet file."""

    shard: ShardSource
    column: str
    group: int
    """Number of its row group."""
    row: int
    """Number of its row in the file."""
    first: int
    """Number of the first row of its group."""

    def __str__(self) -> str:
        return f"{self.shard}: row {self.row}"

    @property
    def path(self) -> Path:  # type: ignore[override]
        """The file, or the local copy of a remote one."""
        return self.shard.path

    @property
    def place(self) -> str:
        """Column and row."""
        return f"{self.column}:{self.row}"

    def state(self) -> Stat:
        """Return numbers that stay the same while the content of the file does. Raises OSError."""
        return self.shard.state()

    def read(self) -> bytes:
        """Return the bytes of the image. Raises OSError for a damaged file, and for an empty cell."""
        import pyarrow

        from dit_run_plugins.datasets.table_columns import encoded_image

        try:
            with _reading:  # one thread reads the group, the others find it
                images = _group(self.shard, self.shard.state(), self.column, self.group)
            return encoded_image(images[self.row - self.first].as_py(), self.column)
        except (pyarrow.ArrowException, IndexError, KeyError) as error:
            raise OSError(f"the parquet file is damaged or has changed: {error}") from error


@lru_cache(maxsize=_GROUPS)
def _group(shard: ShardSource, state: Stat, column: str, group: int) -> Any:
    """Return the images of a row group; ``state`` makes sure that a changed file is read again."""
    from pyarrow.parquet import ParquetFile

    with shard.opened() as opened, ParquetFile(opened) as file:
        return file.read_row_group(group, columns=[column], use_threads=False).column(column)


@dataclass(frozen=True, eq=False)
class ParquetRows(ShardedSamples):
    """A dataset of the rows that have captions; a sample's key is the name of its file and the number of its row."""

    indices: tuple[ParquetIndex, ...]
    """Index of each file."""

    def __getitem__(self, number: int) -> Sample:
        at, place = self.placed(number)
        shard, index = self.shards[at], self.indices[at]
        row = int(index.rows[place])
        group = int(index.groups.searchsorted(row, side="right")) - 1
        image = ParquetImage(shard, index.image_column, group, row, int(index.groups[group]))
        texts, weights = index.captions[place]
        scalars = {} if index.scalars is None else index.scalars[place]
        return Sample(f"{shard.name}/{row}", texts, image, weights, scalars)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all samples."""
        for shard, index in zip(self.shards, self.indices, strict=True):
            yield from (f"{shard.name}/{row}" for row in index.rows.tolist())

    def image_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return height and width of the images of samples, as their headers say; 0 where those cannot be read."""
        import numpy as np

        from dit_run.data.shard_indices import indices_of
        from dit_run_plugins.datasets.parquet_index import ParquetSizes

        groups = list(self.grouped(indices))
        files = [ParquetSizes(self.shards[at], self.indices[at].image_column) for at, *_ in groups]
        sizes = np.empty((len(indices), 2), dtype=np.int64)
        for (at, chosen, places), found in zip(groups, indices_of(files), strict=True):
            sizes[chosen] = found["sizes"].reshape(-1, 2)[self.indices[at].rows[places]]
        return sizes


def build(
    options: Parquet,
    *,
    on_bad_sample: str = "error",
    scalars: Sequence[str] = (),
    shard_cache: ShardCache | None = None,
) -> Dataset:
    """Return the dataset of all rows with captions.

    Raises InputError naming the file for one that is no parquet file or has other columns, and naming the row if it has
    no caption.
    """
    import_extra("pyarrow.parquet", "parquet")

    from dit_run.data.shard_indices import indices_of
    from dit_run_plugins.datasets.parquet_index import ParquetIndex, ParquetShard

    sources = shards_of(options.dataset_path, ".parquet", shard_cache)
    names = tuple(scalars)
    files = [ParquetShard(source, options.image_column, options.caption_columns, names) for source in sources]
    indices = tuple(ParquetIndex(columns, names) for columns in indices_of(files))
    starts = starts_of(indices)
    count = sum(len(index.bare) for index in indices)
    bare = next(
        (f"{at}: row {index.bare[0]}" for at, index in zip(sources, indices, strict=True) if len(index.bare)), ""
    )
    _check(options, int(starts[-1]), bare, count, skip=on_bad_sample == "skip")
    left_out = (LeftOut("row without a caption", count, bare),) if count else ()
    return ParquetRows(sources, starts, left_out, identity_of(files), indices)


def _has_images(folder: str, options: Parquet) -> bool:
    """Return True if the first file of a folder has the columns, or if that cannot be read."""
    from dit_run_plugins.datasets.table_columns import TableColumns

    try:
        from pyarrow.parquet import read_schema

        path = shard_files(folder, ".parquet")[0]
        TableColumns.of(read_schema(path), options.image_column, options.caption_columns, str(path))
    except InputError:
        return False
    except (ImportError, OSError, ValueError):  # pyarrow's own errors are ValueErrors
        return True
    return True


def _check(options: Parquet, count: int, bare: str, bare_count: int, *, skip: bool) -> None:
    """Raise InputError without a row, and for rows without a caption, of which ``bare`` is the first."""
    if not count and not bare:
        raise InputError(f"data.dataset_path: the parquet files of {options.dataset_path} have no row")
    if bare and not (skip and count):
        others = f"; {bare_count:,} of {count + bare_count:,} rows have none" if bare_count > 1 else ""
        skipping = ", or set data.on_bad_sample: skip to leave out such rows" if count else ""
        raise InputError(f"{bare} has no caption: write one there{skipping}{others}")
