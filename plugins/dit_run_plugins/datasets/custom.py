"""One's own images with captions, in any of four layouts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run.options import LocalPath
from dit_run.problems import InputError, Problem
from dit_run_plugins.datasets.metadata_files import INDEX_NAMES, existing_folder, find_index

if TYPE_CHECKING:
    from dit_run.protocols import Dataset, RuleContext

__all__ = ["Custom", "build", "path_is_written"]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Custom:
    """Your own images, each with its caption in a `.txt` of the same name beside it, also in folders of folders; or all
    named by a `metadata.jsonl` or `metadata.csv` (`file_name`, `text`) or a `metadata.json` (`image`, `text`)."""

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Where the data lies; must be written."""


def path_is_written(context: RuleContext) -> Iterable[Problem]:
    """Rule: one's own data lies nowhere by default."""
    if (*context.path, "dataset_path") not in context.written:
        yield Problem(
            "missing-key",
            "data: type custom needs dataset_path",
            (*context.path, "dataset_path"),
            help=("write the folder of your images: dataset_path: ./my_images",),
        )


def build(options: Custom) -> Dataset:
    """Each image with its captions. Raises InputError for what is missing or broken, naming the file."""
    from dit_run_plugins.datasets.captioned_files import Builder
    from dit_run_plugins.datasets.prepared import indexed

    root = existing_folder(options.dataset_path)
    index = find_index(root)
    if index:
        return indexed(root, index)
    builder = Builder(root)
    for file, caption in _pairs(root):
        builder.add(file, caption)
    if not len(builder):
        raise InputError(
            f"data.dataset_path: {root} has no images ({', '.join(sorted(_SUFFIXES))}) "
            f"and none of {', '.join(INDEX_NAMES)}"
        )
    return builder.build(root)


def _pairs(root: Path) -> Iterator[tuple[str, str]]:
    """Each image below a folder and the caption beside it, sorted by path."""
    for file in sorted(_files(root)):
        image = root / file
        if image.suffix.lower() in _SUFFIXES:
            yield file, _caption(image)


def _files(root: Path) -> Iterator[str]:
    """Relative paths of all files but hidden ones; links are followed, each folder is entered once."""
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
            f"{image} has no caption: expected it in {text.name} beside it, or an index file "
            f"({', '.join(INDEX_NAMES)}) in data.dataset_path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text}: cannot be read as UTF-8 text: {error} (data.dataset_path)") from error
    if not caption:
        raise InputError(f"{text}: expected a caption, but it is empty (data.dataset_path)")
    return caption
