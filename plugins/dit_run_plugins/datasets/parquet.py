"""Parquet files with encoded images and captions, as img2dataset and Hugging Face write them, read in place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.data.scalar_columns import ScalarColumns, ScalarTable
from dit_run.digests import Stat, file_stat
from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import FilePart, LeftOut, Recognised, Sample
from dit_run_plugins.datasets.shard_files import holds_shards, shard_files
from dit_run_plugins.extras import import_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.packed_captions import PackedCaptions
    from dit_run.protocols import Dataset

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
    """A file, a folder with `.parquet` files, or a pattern of their paths such as `data/train-*.parquet`."""
    image_column: str | None = None
    """Column of images; null takes the first of `image`, `jpg`, `jpeg`, `png`, `webp`, `img` and `image_bytes`."""
    caption_columns: tuple[str, ...] = ()
    """Columns of captions, each a text or a list of texts, all of which an image has. An empty list takes the first of
    `text`, `caption`, `captions` and `prompt`."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        """Recognise parquet files, apart from tables that come with shards and have no images."""
        if not holds_shards(place, ".parquet"):
            return None
        alone = not Path(place).is_dir()
        return Recognised({"dataset_path": place}, "parquet files") if alone or _has_images(place, cls()) else None


@dataclass(frozen=True)
class ParquetImage(FilePart):
    """An encoded image in a row of a parquet file."""

    path: Path
    column: str
    group: int
    """Number of its row group."""
    row: int
    """Number of its row in the file."""
    first: int
    """Number of the first row of its group."""

    def __str__(self) -> str:
        return f"{self.path}: row {self.row}"

    @property
    def place(self) -> str:
        """Column and row."""
        return f"{self.column}:{self.row}"

    def read(self) -> bytes:
        """Return the bytes of the image. Raises OSError for a damaged file, and for an empty cell."""
        import pyarrow

        from dit_run_plugins.datasets.table_columns import encoded_image

        try:
            with _reading:  # one thread reads the group, the others find it
                images = _group(self.path, file_stat(self.path), self.column, self.group)
            return encoded_image(images[self.row - self.first].as_py(), self.column)
        except (pyarrow.ArrowException, IndexError, KeyError) as error:
            raise OSError(f"the parquet file is damaged or has changed: {error}") from error


@lru_cache(maxsize=_GROUPS)
def _group(path: Path, state: Stat, column: str, group: int) -> Any:
    """Return the images of a row group; ``state`` makes sure that a changed file is read again."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column], use_threads=False).column(column)


@dataclass(frozen=True)
class ParquetRows:
    """A dataset of the rows that have captions; a sample's key is the name of its file and the number of its row."""

    files: tuple[_File, ...]
    file_of: NDArray[np.int32]
    """Number of the file of each sample."""
    rows: NDArray[np.int64]
    """Number of its row in the file."""
    captions: PackedCaptions
    left_out: tuple[LeftOut, ...] = ()
    scalars: ScalarTable | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        file, row = self.files[self.file_of[number]], int(self.rows[number])
        group = int(file.starts.searchsorted(row, side="right")) - 1
        image = ParquetImage(file.path, file.image_column, group, row, int(file.starts[group]))
        texts, weights = self.captions[number]
        scalars = {} if self.scalars is None else self.scalars[number]
        return Sample(f"{file.path.name}/{row}", texts, image, weights, scalars)


@dataclass(frozen=True, eq=False)
class _File:
    path: Path
    image_column: str
    starts: NDArray[np.int64]
    """Number of the first row of each row group."""


def build(options: Parquet, *, on_bad_sample: str = "error", scalars: Sequence[str] = ()) -> Dataset:
    """Return the dataset of all rows with captions.

    Raises InputError naming the file for one that is no parquet file or has other columns, and naming the row if it has
    no caption.
    """
    import_extra("pyarrow.parquet", "parquet")
    import numpy as np

    from dit_run.data.packed_captions import PackedCaptions
    from dit_run_plugins.datasets.table_columns import row_name

    numbers = ScalarColumns(scalars)
    files, file_of, rows, captions, bare = list[_File](), list[int](), list[int](), list[Any](), list[str]()
    for path in shard_files(options.dataset_path, ".parquet"):
        file, own = _read(path, options, numbers)
        for row, found in enumerate(own):
            if found:
                file_of.append(len(files))
                rows.append(row)
                captions.append(found)
            else:
                bare.append(f"{path}: row {row}")
        files.append(file)
    _check(options, len(rows), bare, skip=on_bad_sample == "skip")
    return ParquetRows(
        tuple(files),
        np.array(file_of, dtype=np.int32),
        np.array(rows, dtype=np.int64),
        PackedCaptions.of(captions),
        (LeftOut("row without a caption", len(bare), bare[0]),) if bare else (),
        numbers.table(row_name(str(files[at].path), row) for at, row in zip(file_of, rows, strict=True)),
    )


def _has_images(folder: str, options: Parquet) -> bool:
    """Return True if the first file of a folder has the columns, or if that cannot be read."""
    from dit_run_plugins.datasets.table_columns import TableColumns

    try:
        from pyarrow.parquet import read_schema

        path = next(shard_files(folder, ".parquet"))
        TableColumns.of(read_schema(path), options.image_column, options.caption_columns, str(path))
    except InputError:
        return False
    except (ImportError, OSError, ValueError):  # pyarrow's own errors are ValueErrors
        return True
    return True


def _read(path: Path, options: Parquet, numbers: ScalarColumns) -> tuple[_File, list[list[Any]]]:
    """Return where a file has its images, and the captions of each row."""
    import numpy as np
    import pyarrow
    from pyarrow.parquet import ParquetFile

    from dit_run_plugins.datasets.table_columns import TableColumns

    try:
        with ParquetFile(path) as file:
            columns = TableColumns.of(
                file.schema_arrow, options.image_column, options.caption_columns, str(path), scalars=numbers.names
            )
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.cumsum([0, *counts], dtype=np.int64)[:-1]
            captions = list[list[Any]]()
            for group, first in enumerate(starts.tolist()):
                table = file.read_row_group(group, columns.read_first)
                captions += columns.captions_of(table, str(path), first, numbers)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"cannot read {path}: {error}; it is damaged, cut short or no parquet file (data.dataset_path)"
        ) from error
    return _File(path, columns.image, starts), captions


def _check(options: Parquet, count: int, bare: Sequence[str], *, skip: bool) -> None:
    if not count and not bare:
        raise InputError(f"data.dataset_path: the parquet files of {options.dataset_path} have no row")
    if bare and not (skip and count):
        others = f"; {len(bare):,} of {count + len(bare):,} rows have none" if len(bare) > 1 else ""
        raise InputError(
            f"{bare[0]} has no caption: write one there, or set data.on_bad_sample: skip to leave out such rows{others}"
        )
