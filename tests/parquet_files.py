"""Parquet files for tests, in the layouts of img2dataset and of Hugging Face."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], *, group: int = 2) -> Path:
    """Write columns of plain values in row groups of some rows."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(dict(columns)), path, row_group_size=group)
    return path


def write_dataset(folder: Path, splits: Mapping[str, Mapping[str, Sequence[Any]]]) -> Path:
    """Write a dataset as ``save_to_disk`` of the library datasets does; images are bytes."""
    import datasets

    tables = {split: datasets.Dataset.from_dict(dict(columns)) for split, columns in splits.items()}
    datasets.DatasetDict(tables).save_to_disk(folder)
    return folder
