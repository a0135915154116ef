"""Index files that name images and captions: ``metadata.json``, ``metadata.jsonl``, ``metadata.csv``."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dit_run.problems import InputError

__all__ = ["INDEX_NAMES", "existing_folder", "find_index", "load_json", "read_index", "relative_file"]

Row = tuple[str, str]
"""A checked relative path and one caption."""


def existing_folder(dataset_path: str) -> Path:
    """The folder that ``data.dataset_path`` names. Raises InputError where there is none."""
    folder = Path(dataset_path)
    if not folder.is_dir():
        raise InputError(
            f"data.dataset_path: {folder} is {'not a folder' if folder.exists() else 'not there'}; "
            "write where the data lies"
        )
    return folder


def find_index(folder: Path) -> Path | None:
    """The index file in a folder. Raises InputError where there are two, which might disagree."""
    found = [folder / name for name in INDEX_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(
            f"data.dataset_path: {folder} has {' and '.join(file.name for file in found)}; keep the one that counts"
        )
    return found[0] if found else None


def read_index(file: Path) -> Iterator[Row]:
    """Each image of an index file with each of its captions. Raises InputError naming file and line or entry."""
    return _READERS[file.name](file)


def relative_file(name: Any, where: str) -> str:
    """A path as an index file may name one: relative, with forward slashes, staying below its folder.

    Raises InputError, beginning with ``where``, for anything else.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: expected the path of an image, not {name!r}")
    windows = PureWindowsPath(name)  # knows both kinds of slash
    if windows.anchor or ".." in windows.parts:
        raise InputError(f"{where}: the path {name!r} must be relative and stay in its folder: no '/' first, no '..'")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {name!r} cannot be the name of a file") from error
    return str(PurePosixPath(name))


def load_json(file: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The content of a JSON file. Raises InputError naming it."""
    try:
        return json.loads(file.read_bytes(), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: this is no JSON: {error} (data.dataset_path)") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _json_rows(file: Path) -> Iterator[Row]:
    entries = load_json(file)
    if not isinstance(entries, list):
        raise InputError(f'{file}: expected a list of {{"image": …, "text": …}} (data.dataset_path)')
    for number, entry in enumerate(entries):
        yield from _rows(entry, "image", f"{file}: entry {number}")


def _jsonl_rows(file: Path) -> Iterator[Row]:
    with _open(file) as lines:
        for number, line in _numbered(lines, file):
            if line.strip():
                where = f"{file}:{number}"
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{where}: this line is no JSON: {error}") from error
                yield from _rows(entry, "file_name", where)


def _csv_rows(file: Path) -> Iterator[Row]:
    with _open(file, newline="") as lines:
        rows = csv.DictReader((line for _, line in _numbered(lines, file)), strict=True)
        try:
            for row in rows:
                yield from _rows(row, "file_name", f"{file}:{rows.line_num}")
        except csv.Error as error:
            raise InputError(f"{file}:{rows.line_num}: this is no CSV: {error}") from error


def _rows(entry: Any, key: str, where: str) -> Iterator[Row]:
    if not isinstance(entry, dict) or key not in entry or "text" not in entry:
        raise InputError(f"{where}: expected {key!r} and 'text', but it has {_keys(entry)}")
    image, text = relative_file(entry[key], where), entry["text"]
    captions = text if isinstance(text, list) else [text]
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise InputError(f"{where}: expected 'text' to be a caption or a list of captions, not {text!r}")
    for caption in captions:
        yield image, caption


def _keys(entry: Any) -> str:
    return ", ".join(map(repr, entry)) or "no key" if isinstance(entry, dict) else repr(entry)[:80]


def _open(file: Path, newline: str | None = None) -> Any:
    try:
        return file.open(encoding="utf-8-sig", newline=newline)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _numbered(lines: Iterator[str], file: Path) -> Iterator[tuple[int, str]]:
    try:
        yield from enumerate(lines, start=1)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: this is not UTF-8: {error} (data.dataset_path)") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "metadata.json": _json_rows,
    "metadata.jsonl": _jsonl_rows,
    "metadata.csv": _csv_rows,
}
INDEX_NAMES = tuple(_READERS)
