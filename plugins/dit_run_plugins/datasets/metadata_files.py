"""Metadata files that name images and captions: ``metadata.json``, ``metadata.jsonl`` and ``metadata.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.problems import InputError
from dit_run_plugins.datasets.checked_paths import relative_file

if TYPE_CHECKING:
    from dit_run_plugins.datasets.captioned_files import CaptionedFiles

__all__ = ["METADATA_NAMES", "find_metadata", "metadata_dataset", "prepared_dataset", "read_json"]

Row = tuple[str, str]
"""A checked relative path and one caption."""


def metadata_dataset(root: Path, file: Path) -> CaptionedFiles:
    """Return the dataset of the images that a metadata file in ``root`` names."""
    from dit_run_plugins.datasets.captioned_files import captioned_files

    return captioned_files(root, _READERS[file.name](file), file)


def prepared_dataset(root: Path, original: str) -> CaptionedFiles:
    """Return the dataset of ``root/metadata.json``, a layout that every file dataset accepts.

    Raises InputError if the file is missing, naming the dataset's ``original`` layout, too.
    """
    file = root / "metadata.json"
    if not file.is_file():
        raise InputError(f"data.dataset_path: {root} has neither {original} nor metadata.json")
    return metadata_dataset(root, file)


def find_metadata(folder: Path) -> Path | None:
    """Return the metadata file in a folder, if any. Raises InputError for two, which might disagree."""
    found = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise InputError(f"data.dataset_path: {folder} has {names}; keep one of them")
    return found[0] if found else None


def read_json(file: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the content of a JSON file. Raises InputError naming the file."""
    try:
        return json.loads(file.read_bytes(), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: this file is not valid JSON: {error} (data.dataset_path)") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _json_rows(file: Path) -> Iterator[Row]:
    entries = read_json(file)
    if not isinstance(entries, list):
        raise InputError(f'{file}: expected a list of {{"image": …, "text": …}} (data.dataset_path)')
    for number, entry in enumerate(entries):
        yield from _rows(entry, "image", f"{file}: entry {number}")


def _jsonl_rows(file: Path) -> Iterator[Row]:
    for number, line in _lines(file):
        if line.strip():
            where = f"{file}:{number}"
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: this line is not valid JSON: {error}") from error
            yield from _rows(entry, "file_name", where)


def _csv_rows(file: Path) -> Iterator[Row]:
    rows = csv.DictReader((line for _, line in _lines(file, newline="")), strict=True)
    try:
        for row in rows:
            yield from _rows(row, "file_name", f"{file}:{rows.line_num}")
    except csv.Error as error:
        raise InputError(f"{file}:{rows.line_num}: this line is not valid CSV: {error}") from error


def _lines(file: Path, newline: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text file with their numbers from 1."""
    try:
        with file.open(encoding="utf-8-sig", newline=newline) as lines:
            yield from enumerate(lines, start=1)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: this file is not UTF-8 text: {error} (data.dataset_path)") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _rows(entry: Any, key: str, where: str) -> Iterator[Row]:
    if not isinstance(entry, dict) or key not in entry or "text" not in entry:
        raise InputError(f"{where}: expected {key!r} and 'text', but found {_keys(entry)}")
    image, text = relative_file(entry[key], where), entry["text"]
    captions = text if isinstance(text, list) else [text]
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise InputError(f"{where}: expected 'text' to be a caption or a list of captions, not {text!r}")
    for caption in captions:
        yield image, caption


def _keys(entry: Any) -> str:
    return ", ".join(map(repr, entry)) or "no key" if isinstance(entry, dict) else repr(entry)[:80]


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "metadata.json": _json_rows,
    "metadata.jsonl": _jsonl_rows,
    "metadata.csv": _csv_rows,
}
METADATA_NAMES = tuple(_READERS)
