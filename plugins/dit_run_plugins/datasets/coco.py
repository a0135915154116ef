"""MS-COCO captions in the layout of the original archives (Chen et al., "Microsoft COCO Captions", 2015)."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.config.effects import without_effect
from dit_run.data.caption_weights import Caption
from dit_run.options import LocalPath
from dit_run.problems import InputError, Problem
from dit_run.protocols import Recognised
from dit_run_plugins.datasets.checked_paths import existing_folder, relative_file
from dit_run_plugins.datasets.metadata_files import prepared_dataset, read_json

if TYPE_CHECKING:
    from dit_run.protocols import Dataset, RuleContext
    from dit_run_plugins.datasets.captioned_files import Tally

__all__ = ["Coco", "build", "splits_chosen"]

_PREFIX = "captions_"


@dataclass(frozen=True, kw_only=True)
class Coco:
    """MS-COCO: `annotations/captions_*.json` next to the image folders, or a prepared `metadata.json`."""

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Folder that holds the data."""
    subsets: tuple[str, ...] = ()
    """Splits to use: names such as `train2017`, or patterns such as `train*`. An empty list uses every split that has
    captions."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        files = _caption_files(Path(place))
        return Recognised({"dataset_path": place}, f"MS-COCO captions of {', '.join(files)}") if files else None


def splits_chosen(context: RuleContext) -> Iterator[Problem]:
    """Report the splits that are used because `subsets` is not set."""
    path, splits = (*context.path, "subsets"), ", ".join(_caption_files(Path(context.options.dataset_path)))
    if path not in context.written and ", " in splits:
        yield Problem(
            code="all-splits-used",
            message=f"data.subsets is not set, so all splits in {context.options.dataset_path} are used: {splits}",
            path=path,
            severity="notice",
            help=("list the splits to use, for example data.subsets: ['train*']",),
        )
    prepared = not splits and os.path.isfile(f"{context.options.dataset_path}/metadata.json")  # noqa: PTH113 (as below)
    if context.options.subsets and prepared and path in context.written:
        yield without_effect(path, f"{context.options.dataset_path} is a prepared folder, without splits")


def build(options: Coco, *, on_bad_sample: str = "error", scalars: Sequence[str] = ()) -> Dataset:
    """Return a dataset of each captioned image with all its captions.

    Raises InputError naming the file if anything is missing or broken.
    """
    from dit_run_plugins.datasets.captioned_files import Tally, captioned_files

    root, skip = existing_folder(options.dataset_path), on_bad_sample == "skip"
    files = _chosen_files(root, options.subsets)
    if not files:
        return prepared_dataset(
            root, f"annotations/{_PREFIX}*.json next to the image folders", skip=skip, scalars=scalars
        )
    tally = Tally()
    return captioned_files(root, _rows(root, files, tally), root / "annotations", skip=skip, tally=tally)


def _chosen_files(root: Path, subsets: tuple[str, ...]) -> dict[str, Path]:
    """Return the caption files of the chosen splits, of all if none is chosen; none for a prepared folder.

    Raises InputError for a split that is missing, and for a pattern that no split has.
    """
    files = _caption_files(root)
    for subset in subsets:
        if not fnmatch.filter(files, subset) and (files or not _is_pattern(subset)):
            found = ", ".join(files) or "no captions"
            raise InputError(f"data.subsets: {root / 'annotations'} has no {_PREFIX}{subset}.json; found {found}")
    return {name: file for name, file in files.items() if not subsets or any(fnmatch.fnmatch(name, s) for s in subsets)}


def _is_pattern(subset: str) -> bool:
    return any(mark in subset for mark in "*?[")


def _caption_files(root: Path) -> dict[str, Path]:
    """Return the caption files by split, sorted."""
    folder = root / "annotations"
    exists = os.path.isdir(folder)  # noqa: PTH112 (pathlib raises for a name that is too long)
    files = sorted(folder.glob(f"{_PREFIX}*.json")) if exists else []
    return {file.stem.removeprefix(_PREFIX): file for file in files}


def _rows(root: Path, files: Mapping[str, Path], tally: Tally) -> Iterator[tuple[str, Caption]]:
    for subset, file in files.items():
        if not (root / subset).is_dir():
            raise InputError(
                f"{file} needs the image folder {root / subset}, which is missing (data.dataset_path); "
                "add it, or list the splits to use in data.subsets"
            )
        for name, caption in _captions(file, tally):
            yield f"{subset}/{name}", Caption(caption)


def _captions(file: Path, tally: Tally) -> Iterator[tuple[str, str]]:
    """Yield the image's file name and the caption of each annotation, in the order of the file.

    Annotations of images that the file does not list are left out.
    """
    content = read_json(file, object_hook=_compact)
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected 'images' and 'annotations', the captions format of MS-COCO")
    names = dict(_pairs(content["images"], file, "images"))
    for number, name in names.items():
        names[number] = relative_file(name, f"{file}: image {number}")
    for image, caption in _pairs(content["annotations"], file, "annotations"):
        if image not in names:
            tally.add(f"caption of an image that is not in 'images' of {file.name}", [f"image {image}"])
            continue
        if not isinstance(caption, str):
            raise InputError(f"{file}: the caption of image {image!r} is {caption!r}, which is not text")
        yield names[image], caption


def _pairs(entries: Any, file: Path, key: str) -> list[tuple[Any, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
        raise InputError(f"{file}: {key!r} does not have the captions format of MS-COCO")
    return entries


def _compact(entry: dict[str, Any]) -> Any:
    """Keep the two values of a JSON object that are used, as soon as it is parsed: a tenth of the memory."""
    if "caption" in entry and "image_id" in entry:
        return _hashable(entry["image_id"]), entry["caption"]
    if "file_name" in entry and "id" in entry:
        return _hashable(entry["id"]), entry["file_name"]
    return entry if "images" in entry and "annotations" in entry else None


def _hashable(number: Any) -> Any:
    return number if isinstance(number, int | str) else repr(number)
