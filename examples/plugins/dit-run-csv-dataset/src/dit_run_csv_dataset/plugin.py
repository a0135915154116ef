"""The dataset ``csv``: one row per caption, with the path of its image."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dit_run import Component, Kind, hookimpl
from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import Sample


@dataclass(frozen=True, kw_only=True)
class Csv:
    """Images and captions listed in a CSV file with a header; rows with the same image give it several captions."""

    path: Annotated[str, LocalPath]
    """Path of the CSV file; image paths in it are relative to its folder."""
    image_column: str = "image"
    """Name of the column with image paths."""
    caption_column: str = "caption"
    """Name of the column with captions."""
    delimiter: str = ","
    """Character between columns."""


def build(options: Csv) -> list[Sample]:
    """Return one sample per image; its key is the image path as written in the file.

    Raises InputError that names the file, and the line if a row is incomplete or an image is missing.
    """
    file = Path(options.path)
    captions: dict[str, list[str]] = {}
    for line, (image, caption) in _rows(file, options):
        if image not in captions and not (file.parent / image).is_file():
            raise InputError(f"{file}, line {line}: there is no image {file.parent / image}")
        captions.setdefault(image, []).append(caption)
    if not captions:
        raise InputError(f"{file} lists no images (data.path)")
    return [Sample(image, tuple(texts), file.parent / image) for image, texts in captions.items()]


def _rows(file: Path, options: Csv) -> list[tuple[int, tuple[str, str]]]:
    """Return line numbers with image and caption."""
    columns = (options.image_column, options.caption_column)
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter=options.delimiter)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "none"
                raise InputError(f"{file} has no column {missing[0]!r}; its columns are {found}")
            rows = [(reader.line_num, (row[columns[0]], row[columns[1]])) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error} (data.path)") from error
    for line, row in rows:
        if not all(row):
            raise InputError(f"{file}, line {line}: a row needs an image and a caption")
    return rows


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.DATASET, "csv", Csv, build)]
