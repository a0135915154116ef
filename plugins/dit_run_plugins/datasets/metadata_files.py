"""Metadata files that name images and captions: ``metadata.json``, ``metadata.jsonl`` and ``metadata.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dit_run.data.caption_weights import Caption, weighted
from dit_run.data.scalar_columns import ScalarColumns
from dit_run.problems import InputError
from dit_run_plugins.datasets.checked_paths import relative_file
from dit_run_plugins.datasets.text_files import read_lines

if TYPE_CHECKING:
    from dit_run_plugins.datasets.captioned_files import CaptionedFiles

__all__ = ["METADATA_NAMES", "captions_of", "find_metadata", "metadata_dataset", "prepared_dataset", "read_json"]

_IMAGE_KEYS = ("file_name", "image", "filename", "path")
"""Names of the column of images; the first that is there counts."""
_CAPTION_KEYS = ("text", "caption", "captions", "prompt")
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}

Row = tuple[str, Caption]
"""A checked relative path and one caption."""


class MetadataEntry(NamedTuple):
    """An entry of a metadata file, not checked yet."""

    values: Any
    image_key: str
    """The usual name of the column of images."""
    where: str


def metadata_dataset(
    root: Path, files: Sequence[Path], *, skip: bool, folders: Collection[str] = (), scalars: Sequence[str] = ()
) -> CaptionedFiles:
    """Return the dataset of the images that metadata files in ``root`` or in folders in it name.

    ``folders`` are all folders in ``root``, where further images are looked for; ``scalars`` are the columns of numbers
    that samples have.
    """
    from dit_run_plugins.datasets.captioned_files import captioned_files

    source, columns = files[0] if len(files) == 1 else root, ScalarColumns(scalars)
    return captioned_files(root, _all_rows(root, files, columns), source, skip=skip, folders=folders, scalars=columns)


def _all_rows(root: Path, files: Sequence[Path], scalars: ScalarColumns) -> Iterator[Row]:
    for file in files:
        folder = file.parent.relative_to(root)
        for entry in _READERS[file.name](file):
            for name, caption in _rows(entry):
                image = (folder / name).as_posix()
                scalars.add(image, entry.values, entry.where)
                yield image, caption


def prepared_dataset(root: Path, original: str, *, skip: bool, scalars: Sequence[str] = ()) -> CaptionedFiles:
    """Return the dataset of ``root/metadata.json``, a layout that every file dataset accepts.

    Raises InputError if the file is missing, naming the dataset's ``original`` layout, too.
    """
    file = root / "metadata.json"
    if not file.is_file():
        raise InputError(f"data.dataset_path: {root} has neither {original} nor metadata.json")
    return metadata_dataset(root, [file], skip=skip, scalars=scalars)


def find_metadata(root: Path, folders: Iterable[str]) -> list[Path]:
    """Return the metadata file in a folder, or else those in the folders in it, each of which may have one.

    Raises InputError for two in one folder, which might disagree.
    """
    own = _metadata_in(root)
    nested = [] if own else [file for folder in folders for file in _metadata_in(root / folder)]
    return own or nested


def _metadata_in(folder: Path) -> list[Path]:
    found = [folder / name for name in METADATA_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise InputError(f"data.dataset_path: {folder} has {names}; keep one of them")
    return found


def read_json(file: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the content of a JSON file. Raises InputError naming the file."""
    try:
        return json.loads(file.read_bytes(), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: this file is not valid JSON: {error} (data.dataset_path)") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error


def _json_entries(file: Path) -> Iterator[MetadataEntry]:
    entries = read_json(file)
    if not isinstance(entries, list):
        raise InputError(f'{file}: expected a list of {{"image": …, "text": …}} (data.dataset_path)')
    for number, entry in enumerate(entries):
        yield MetadataEntry(entry, "image", f"{file}: entry {number}")


def _jsonl_entries(file: Path) -> Iterator[MetadataEntry]:
    for number, line in read_lines(file):
        if line.strip():
            where = f"{file}:{number}"
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: this line is not valid JSON: {error}") from error
            yield MetadataEntry(entry, "file_name", where)


def _csv_entries(file: Path) -> Iterator[MetadataEntry]:
    rows = csv.reader((line for _, line in read_lines(file, newline="")), strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if names:
            _check_header(names, f"{file}:1")
        for values in rows:
            if values:
                where = f"{file}:{rows.line_num}"
                _check_count(values, names, where)
                yield MetadataEntry(dict(zip(names, values, strict=True)), "file_name", where)
    except csv.Error as error:
        raise InputError(f"{file}:{rows.line_num}: this line is not valid CSV: {error}") from error


def _check_header(names: Sequence[str], where: str) -> None:
    if _first(names, _IMAGE_KEYS) and _first(names, _CAPTION_KEYS):
        return
    line = ",".join(names)
    other = next((name for mark, name in _SEPARATORS.items() if mark in line), None)
    help_text = (
        f"its values seem to be separated by {other}; separate them by commas"
        if other
        else "let the first line name the columns: file_name,text"
    )
    raise InputError(f"{where}: expected the columns 'file_name' and 'text', but found {_keys(names)}; {help_text}")


def _check_count(values: Sequence[str], names: Sequence[str], where: str) -> None:
    if len(values) == len(names):
        return
    text = f"{where}: this line has {len(values)} value{'s' * (len(values) != 1)} for {len(names)} columns"
    if len(values) > len(names):
        caption = ",".join(values[len(names) - 1 :]).strip()
        text += f'; write a caption that has commas in double quotes: "{caption}"'
    raise InputError(f"{text} (data.dataset_path)")


def _rows(entry: MetadataEntry) -> Iterator[Row]:
    names = entry.values if isinstance(entry.values, dict) else {}
    file_key = _first(names, _IMAGE_KEYS)
    if file_key is None or _first(names, _CAPTION_KEYS) is None:
        raise InputError(f"{entry.where}: expected {entry.image_key!r} and 'text', but found {_keys(entry.values)}")
    image = relative_file(names[file_key], entry.where)
    for caption in captions_of(names, entry.where):
        yield image, caption


def captions_of(entry: Any, where: str) -> list[Caption]:
    """Return the captions in a JSON object, with their weights.

    Raises InputError, which starts with ``where``, if there are none, and for a weight that is not above 0.
    """
    key = _first(entry if isinstance(entry, dict) else {}, _CAPTION_KEYS)
    if key is None:
        raise InputError(f"{where}: expected 'text', but found {_keys(entry)}")
    captions = entry[key] if isinstance(entry[key], list) else [entry[key]]
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise InputError(f"{where}: expected {key!r} to be a caption or a list of captions, not {entry[key]!r}")
    try:
        return weighted(captions, entry)
    except ValueError as error:
        raise InputError(f"{where}: {error} (data.dataset_path)") from error


def _first(names: Collection[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _keys(entry: Any) -> str:
    named = isinstance(entry, dict) or (isinstance(entry, list) and entry)
    return ", ".join(map(repr, entry)) or "no key" if named else repr(entry)[:80]


_READERS: dict[str, Callable[[Path], Iterator[MetadataEntry]]] = {
    "metadata.json": _json_entries,
    "metadata.jsonl": _jsonl_entries,
    "metadata.csv": _csv_entries,
}
METADATA_NAMES = tuple(_READERS)
