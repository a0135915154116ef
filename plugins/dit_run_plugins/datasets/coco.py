"""MS-COCO captions, in the layout of its own archives (Chen et al., "Microsoft COCO Captions", 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run_plugins.datasets.metadata_files import existing_folder, load_json, relative_file

if TYPE_CHECKING:
    from dit_run.protocols import Dataset

__all__ = ["Coco", "build"]


@dataclass(frozen=True, kw_only=True)
class Coco:
    """MS-COCO: `annotations/captions_*.json` with the image folders beside it; or a prepared `metadata.json`."""

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Where the data lies."""
    subsets: tuple[str, ...] = ()
    """The splits that are read, such as `train2017`; empty reads all whose captions are there."""


def build(options: Coco) -> Dataset:
    """Each captioned image with all its captions. Raises InputError for what is missing or broken, naming the file."""
    from dit_run_plugins.datasets.captioned_files import Builder
    from dit_run_plugins.datasets.prepared import prepared

    root = existing_folder(options.dataset_path)
    builder, files = Builder(root), _caption_files(root, options.subsets)
    if not files:
        return prepared(root, "annotations/captions_*.json with the image folders beside it")
    for subset, file in files.items():
        if not (root / subset).is_dir():
            raise InputError(
                f"{file} needs the folder {root / subset}, which is not there (data.dataset_path); "
                "name the splits that you have in data.subsets"
            )
        for name, caption in _captions(file):
            builder.add(f"{subset}/{name}", caption)
    return builder.build(root / "annotations")


def _caption_files(root: Path, subsets: tuple[str, ...]) -> dict[str, Path]:
    """Caption files by split, sorted."""
    prefix = "captions_"
    found = {file.stem.removeprefix(prefix): file for file in sorted((root / "annotations").glob(f"{prefix}*.json"))}
    unknown = [subset for subset in subsets if subset not in found]
    if unknown:
        raise InputError(
            f"data.subsets: {root / 'annotations'} has no {prefix}{unknown[0]}.json; "
            f"it has {', '.join(found) or 'no captions at all'}"
        )
    return {subset: file for subset, file in found.items() if not subsets or subset in subsets}


def _captions(file: Path) -> Iterator[tuple[str, str]]:
    """File name and caption of each annotation, by file name and then in the order of their numbers."""
    content = load_json(file, object_hook=_compact)
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected 'images' and 'annotations', the captions format of MS-COCO")
    names = dict(_pairs(content["images"], file, "images"))
    for number, name in names.items():
        names[number] = relative_file(name, f"{file}: image {number}")
    for image, caption in _pairs(content["annotations"], file, "annotations"):
        if image not in names:
            raise InputError(f"{file}: an annotation names image {image!r}, which 'images' does not have")
        if not isinstance(caption, str):
            raise InputError(f"{file}: image {image!r} has the caption {caption!r}, which is no text")
        yield names[image], caption


def _pairs(entries: Any, file: Path, key: str) -> list[tuple[Any, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
        raise InputError(f"{file}: {key!r} is not as in the captions format of MS-COCO")
    return entries


def _compact(entry: dict[str, Any]) -> Any:
    """Called for each JSON object as it is read: keeps the two values that count, a tenth of the memory."""
    if "caption" in entry and "image_id" in entry:
        return _hashable(entry["image_id"]), entry["caption"]
    if "file_name" in entry and "id" in entry:
        return _hashable(entry["id"]), entry["file_name"]
    return entry if "images" in entry and "annotations" in entry else None


def _hashable(number: Any) -> Any:
    return number if isinstance(number, int | str) else repr(number)
