"""Indices of parquet files: rows with captions, and the sizes of images, each read once and kept.

Captions are read from their columns alone. Sizes need the bytes of all images, so they are read when buckets or limits
ask for them, and kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dit_run.data.column_files import Columns
from dit_run.data.dimensions import UNKNOWN, size_in
from dit_run.data.packed_captions import PackedCaptions
from dit_run.data.scalar_columns import ScalarColumns, ScalarTable
from dit_run.data.shard_sources import ShardSource
from dit_run.data.texts import Texts
from dit_run.problems import InputError
from dit_run_plugins.datasets.sharded_samples import ShardToIndex
from dit_run_plugins.datasets.table_columns import TableColumns, encoded_image, row_name

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

    from dit_run.data.caption_weights import Caption

__all__ = ["ParquetIndex", "ParquetShard", "ParquetSizes"]

_VERSION = 1
"""Version of the content of both indices; part of the names under which they are kept."""


class ParquetIndex:
    """The rows of a file that have captions. Picklable, cheap where it is kept."""

    def __init__(self, columns: Columns, scalars: tuple[str, ...]) -> None:
        self.columns: Columns = columns
        self.scalars: ScalarTable | None = (
            ScalarTable(scalars, columns["scalars"].reshape(-1, len(scalars))) if scalars else None
        )
        """Numbers of each row."""
        self.image_column: str = Texts.stored(columns, "image_column")[0]
        self.groups: NDArray[np.int64] = columns["groups"]
        """Number of the first row of each row group."""
        self.rows: NDArray[np.int64] = columns["rows"]
        """Number of each row."""
        self.captions: PackedCaptions = PackedCaptions(
            Texts.stored(columns, "captions"), columns["weights"], columns["starts"]
        )
        self.bare: NDArray[np.int64] = columns["bare"]
        """Numbers of the rows without a caption."""

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, tuple[Columns, tuple[str, ...]]]:
        return ParquetIndex, (self.columns, () if self.scalars is None else self.scalars.names)


@dataclass(frozen=True)
class ParquetShard(ShardToIndex):
    """A file whose captions can be indexed."""

    image_column: str | None
    caption_columns: tuple[str, ...]
    scalars: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes that are read: few of a local file."""
        return 0 if self.source.is_local else self.source.bytes

    @property
    def identity(self) -> list[Any]:
        """Everything that decides the index."""
        chosen = [self.image_column, list(self.caption_columns), list(self.scalars)]
        return ["parquet", _VERSION, *self.source.identity, *chosen]

    def build(self) -> Columns:
        """Read all columns but that of images. Raises InputError naming the file, and the row of a wrong value."""
        where, numbers = str(self.source), ScalarColumns(self.scalars)
        with _opened(self.source) as file:
            columns = TableColumns.of(
                file.schema_arrow, self.image_column, self.caption_columns, where, scalars=self.scalars
            )
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            groups = np.cumsum([0, *counts], dtype=np.int64)[:-1]
            found = list[list["Caption"]]()
            for group, first in enumerate(groups.tolist()):
                table = file.read_row_group(group, columns.read_first)
                found += columns.captions_of(table, where, first, numbers)
        rows = [row for row, own in enumerate(found) if own]
        captions = PackedCaptions.of([found[row] for row in rows])
        scalars = numbers.table(row_name(where, row) for row in rows)
        return Columns(
            {
                **Texts.of([columns.image]).packed("image_column"),
                "groups": groups,
                "rows": np.array(rows, dtype=np.int64),
                **captions.texts.packed("captions"),
                "weights": captions.weights,
                "starts": captions.starts,
                "scalars": np.empty(0) if scalars is None else scalars.values.reshape(-1),
                "bare": np.array([row for row, own in enumerate(found) if not own], dtype=np.int64),
            }
        )


@dataclass(frozen=True)
class ParquetSizes(ShardToIndex):
    """A file whose images can be measured."""

    image_column: str

    @property
    def identity(self) -> list[Any]:
        """Everything that decides the sizes."""
        return ["parquet sizes", _VERSION, *self.source.identity, self.image_column]

    def build(self) -> Columns:
        """Read the headers of all images: height and width of each row, upright, 0 where they cannot be read."""
        with _opened(self.source) as file:
            sizes = [
                _size(cell.as_py(), self.image_column)
                for group in range(file.num_row_groups)
                for cell in file.read_row_group(group, [self.image_column], use_threads=False).column(self.image_column)
            ]
        return Columns({"sizes": np.array(sizes, dtype=np.int32).reshape(-1)})


@contextmanager
def _opened(source: ShardSource) -> Iterator[ParquetFile]:
    """Open a file. Raises InputError naming it where it is damaged or no parquet file."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with source.opened() as opened, ParquetFile(opened) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"cannot read {source}: {error}; it is damaged, cut short or no parquet file (data.dataset_path)"
        ) from error


def _size(value: Any, column: str) -> tuple[int, int]:
    try:
        encoded = encoded_image(value, column)
    except OSError:
        return UNKNOWN
    return size_in(encoded, lambda: encoded)
