"""Your own images with captions, in any of four layouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run.options import LocalPath
from dit_run.problems import InputError, Problem
from dit_run_plugins.datasets.checked_paths import existing_folder
from dit_run_plugins.datasets.metadata_files import METADATA_NAMES, find_metadata, metadata_dataset

if TYPE_CHECKING:
    from dit_run.protocols import Dataset, RuleContext

__all__ = ["Custom", "build", "path_is_written"]

_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, kw_only=True)
class Custom:
    """Your own images, each with a caption in a `.txt` file of the same name next to it, also in nested folders.

    Or all listed in a `metadata.jsonl` or `metadata.csv` (`file_name`, `text`) or a `metadata.json` (`image`, `text`).
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Folder that holds the images; required."""


def path_is_written(context: RuleContext) -> Iterator[Problem]:
    """Refuse a config without `dataset_path`: no default folder holds a user's own images."""
    path = (*context.path, "dataset_path")
    if path not in context.written:
        help_text = "set it to the folder of your images, for example dataset_path: ./my_images"
        yield Problem("missing-key", "data: type custom needs dataset_path", path, help=(help_text,))


def build(options: Custom) -> Dataset:
    """Return a dataset of each image with its captions.

    Raises InputError naming the file if anything is missing or broken.
    """
    from dit_run_plugins.datasets.captioned_files import captioned_files

    root = existing_folder(options.dataset_path)
    metadata = find_metadata(root)
    if metadata:
        return metadata_dataset(root, metadata)
    files = sorted(file for file in _files(root) if file.lower().endswith(_SUFFIXES))
    if not files:
        raise InputError(
            f"data.dataset_path: {root} has no images ({', '.join(_SUFFIXES)}) and none of {', '.join(METADATA_NAMES)}"
        )
    return captioned_files(root, ((file, _caption(root / file)) for file in files), root)


def _files(root: Path) -> Iterator[str]:
    """Yield relative paths of all files except hidden ones; links are followed, each folder is entered once."""
    entered = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in entered else sorted(name for name in folders if name[0] != ".")
        names = [] if real in entered else names
        entered.add(real)
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names if name[0] != ".")


def _caption(image: Path) -> str:
    text = image.with_suffix(".txt")
    try:
        caption = " ".join(text.read_text(encoding="utf-8-sig").split())
    except FileNotFoundError as error:
        raise InputError(
            f"{image} has no caption: write it to {text.name} in the same folder, or add one of "
            f"{', '.join(METADATA_NAMES)} to data.dataset_path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text}: cannot be read as UTF-8 text: {error} (data.dataset_path)") from error
    if not caption:
        raise InputError(f"{text}: expected a caption, but the file is empty (data.dataset_path)")
    return caption
