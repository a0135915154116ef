"""Datasets of the library datasets: a folder that save_to_disk wrote, or a name on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.config.effects import without_effect
from dit_run.data.scalar_columns import ScalarColumns, ScalarTable
from dit_run.digests import combined, file_stat
from dit_run.options import HubOrPath
from dit_run.problems import InputError, Problem
from dit_run.protocols import FilePart, LeftOut, Recognised, Sample
from dit_run_plugins.extras import import_extra

if TYPE_CHECKING:
    import datasets
    import numpy as np
    from numpy.typing import NDArray

    from dit_run.data.packed_captions import PackedCaptions
    from dit_run.data.texts import Texts
    from dit_run.protocols import Dataset, RuleContext
    from dit_run_plugins.datasets.table_columns import TableColumns

__all__ = ["HuggingFace", "TableImage", "build", "hub_keys_apply"]

_SAVED = ("dataset_dict.json", "state.json")
"""Files of which ``save_to_disk`` writes one."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_ROWS = 1000
"""Rows whose captions are read at once (number)."""


@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """A dataset of the library `datasets` with a column of images and columns of captions.

    A column `weight` or `weights` weights the captions of each row. Needs `pip install 'dit-run[huggingface]'`.
    """

    dataset_path: Annotated[str, HubOrPath] = "./data"
    """A folder that `save_to_disk` wrote, or a name on the Hugging Face Hub such as `lambdalabs/naruto-blip-captions`,
    which is downloaded once."""
    subset: str | None = None
    """Configuration of a dataset on the Hub that has several."""
    revision: str | None = None
    """Branch, tag or commit of a dataset on the Hub; null takes the newest."""
    split: str = "train"
    """Split to use."""
    image_column: str | None = None
    """Column of images; null takes the first of `image`, `jpg`, `jpeg`, `png`, `webp`, `img` and `image_bytes`."""
    caption_columns: tuple[str, ...] = ()
    """Columns of captions, each a text or a list of texts, all of which an image has. An empty list takes the first of
    `text`, `caption`, `captions`, `prompt` and `txt`."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        if any((Path(place) / name).is_file() for name in _SAVED):
            return Recognised({"dataset_path": place}, "a folder that save_to_disk wrote")
        if _HUB_NAME.fullmatch(place) and not Path(place).exists():
            return Recognised({"dataset_path": place}, "a name on the Hugging Face Hub", general=True)
        return None


@dataclass(frozen=True, eq=False)
class TableImage(FilePart):
    """An encoded image in a row of a table."""

    path: Path
    """The first file of the table, which is written again if the table changes."""
    table: datasets.Dataset
    """In Arrow format, mapped from its files."""
    fingerprint: str
    """Digest of the table by the library."""
    column: str
    row: int

    def __str__(self) -> str:
        return f"{self.path}: row {self.row}"

    @property
    def place(self) -> str:
        """Table, column and row."""
        return f"{self.fingerprint}:{self.column}:{self.row}"

    def read(self) -> bytes:
        """Return the bytes of the image. Raises OSError for an empty cell."""
        import pyarrow

        from dit_run_plugins.datasets.table_columns import encoded_image

        try:
            return encoded_image(self.table[self.row].column(self.column)[0].as_py(), self.column)
        except (pyarrow.ArrowException, IndexError) as error:
            raise OSError(f"the table is damaged or has changed: {error}") from error


@dataclass(frozen=True, eq=False)
class TableRows:
    """A dataset of the rows that have captions; a sample's key is the number of its row."""

    table: datasets.Dataset
    fingerprint: str
    path: Path
    column: str
    rows: NDArray[np.int64]
    """Number of the row of each sample."""
    files: Texts
    """Path of the image of each sample that is stored in a file of its own; empty for others."""
    captions: PackedCaptions
    identity: str
    """Digest of everything that decides the samples."""
    left_out: tuple[LeftOut, ...] = ()
    scalars: ScalarTable | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all samples."""
        return map(str, self.rows.tolist())

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        row, file = int(self.rows[number]), self.files[number]
        texts, weights = self.captions[number]
        image = Path(file) if file else TableImage(self.path, self.table, self.fingerprint, self.column, row)
        scalars = {} if self.scalars is None else self.scalars[number]
        return Sample(str(row), texts, image, weights, scalars)


def hub_keys_apply(context: RuleContext) -> Iterator[Problem]:
    """Report the written options that only a dataset on the Hub needs."""
    if Path(context.options.dataset_path).is_dir():
        for key in ("subset", "revision"):
            path = (*context.path, key)
            if path in context.written and getattr(context.options, key) is not None:
                yield without_effect(path, f"{context.options.dataset_path} is a folder")


def build(options: HuggingFace, *, on_bad_sample: str = "error", scalars: Sequence[str] = ()) -> Dataset:
    """Return the dataset of all rows with captions.

    Raises InputError for a dataset that cannot be loaded, for other columns, and for a row without a caption.
    """
    library = import_extra("datasets", "huggingface")
    import numpy as np

    from dit_run.data.packed_captions import PackedCaptions
    from dit_run.data.texts import Texts
    from dit_run_plugins.datasets.table_columns import TableColumns, row_name

    loaded = _loaded(library, options)
    columns = TableColumns.of(
        loaded.features.arrow_schema,
        options.image_column,
        options.caption_columns,
        options.dataset_path,
        scalars=scalars,
    )
    numbers = ScalarColumns(scalars)
    table = loaded.with_format("arrow")
    rows, bare, captions, files = list[int](), list[int](), list[Any](), list[str]()
    for row, (found, file) in enumerate(_rows(table, columns, options.dataset_path, numbers)):
        if found:
            rows.append(row)
            captions.append(found)
            files.append(file)
        else:
            bare.append(row)
    _check(options, len(rows), bare, skip=on_bad_sample == "skip")
    return TableRows(
        table=table,
        fingerprint=loaded._fingerprint,
        path=_first_file(loaded, options.dataset_path),
        column=columns.image,
        rows=np.array(rows, dtype=np.int64),
        files=Texts.of(files),
        captions=PackedCaptions.of(captions),
        identity=_identity(loaded, columns),
        left_out=(LeftOut("row without a caption", len(bare), f"row {bare[0]}"),) if bare else (),
        scalars=numbers.table(row_name(options.dataset_path, row) for row in rows),
    )


def _loaded(library: Any, options: HuggingFace) -> Any:
    """Return the split. Raises InputError, which says what was looked for, for anything that fails."""
    path, folder = options.dataset_path, Path(options.dataset_path)
    on_hub = {"name": options.subset, "revision": options.revision}
    try:
        if folder.is_dir():
            found = library.load_from_disk(path)
        else:
            found = library.load_dataset(path, split=options.split, **on_hub)
    except Exception as error:
        expected = "expected a folder that save_to_disk wrote" if folder.is_dir() else "it is no folder, nor on the Hub"
        raise InputError(f"data.dataset_path: cannot load {path}; {expected}: {error}") from error
    if isinstance(found, library.DatasetDict):
        if options.split not in found:
            raise InputError(f"data.split: {path} has no split {options.split!r}; it has {', '.join(found)}")
        found = found[options.split]
    if not len(found):
        raise InputError(f"data.dataset_path: {path} has no row")
    return found


def _identity(loaded: datasets.Dataset, columns: TableColumns) -> str:
    """Return a digest of the table, the state of its files, and the columns that are read first."""
    states = [file_stat(Path(file["filename"])) for file in loaded.cache_files]
    return combined(["huggingface", loaded._fingerprint, states, columns.captions, columns.weights, columns.scalars])


def _first_file(loaded: Any, path: str) -> Path:
    if not loaded.cache_files:
        raise InputError(f"{path} is kept in memory: unset HF_DATASETS_IN_MEMORY_MAX_SIZE, so that it lies in files")
    return Path(loaded.cache_files[0]["filename"])


def _rows(table: Any, columns: Any, where: str, numbers: ScalarColumns) -> Iterator[tuple[list[Any], str]]:
    """Yield the captions of each row, and the path of its image if the table has only that."""
    texts = table.select_columns(columns.read_first)
    images = table.select_columns([columns.image])
    for first in range(0, len(table), _ROWS):
        captions = columns.captions_of(texts[first : first + _ROWS], where, first, numbers)
        yield from zip(captions, _paths(images[first : first + _ROWS].column(columns.image)), strict=True)


def _paths(images: Any) -> list[str]:
    """Return the path of each image without bytes; empty for others. The bytes are not read."""
    from pyarrow import compute, types

    if not types.is_struct(images.type) or images.type.get_field_index("path") < 0:
        return [""] * len(images)
    empty = compute.is_null(compute.struct_field(images, "bytes")).to_pylist()
    paths = compute.struct_field(images, "path").to_pylist()
    return [(path or "") if alone else "" for alone, path in zip(empty, paths, strict=True)]


def _check(options: HuggingFace, count: int, bare: list[int], *, skip: bool) -> None:
    if bare and not (skip and count):
        others = f"; {len(bare):,} of {count + len(bare):,} rows have none" if len(bare) > 1 else ""
        raise InputError(
            f"{options.dataset_path}: row {bare[0]} has no caption: write one there, or set "
            f"data.on_bad_sample: skip to leave out such rows{others}"
        )
