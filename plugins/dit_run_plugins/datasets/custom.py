"""Your own images with captions, in any of four layouts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from dit_run.options import LocalPath
from dit_run.problems import InputError, Problem
from dit_run.protocols import Recognised
from dit_run_plugins.datasets.checked_paths import existing_folder
from dit_run_plugins.datasets.metadata_files import METADATA_NAMES, find_metadata, metadata_dataset
from dit_run_plugins.datasets.sidecars import sidecar_captions, sidecar_scalars

if TYPE_CHECKING:
    from dit_run.protocols import Dataset, RuleContext

__all__ = ["Custom", "build", "path_is_written"]

_OTHER_SUFFIXES = (
    *(".ppm", ".pgm", ".pnm", ".tga", ".ico", ".jp2", ".j2k", ".psd", ".xcf", ".svg", ".eps", ".exr", ".hdr", ".npy"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".mp4", ".webm", ".mov", ".avi", ".mkv"),
)
"""Usual ends of names of images and videos that no reader takes."""


@dataclass(frozen=True, kw_only=True)
class Custom:
    """Your own images, each with captions in a `.txt` or `.json` file of the same name next to it, in any folders.

    Or all listed in a `metadata.jsonl` or `metadata.csv` (`file_name`, `text`) or a `metadata.json` (`image`, `text`),
    one for all or one in each folder. Columns may also be named `image` and `caption` or `prompt`.
    Captions with a `weight` are used as often as it says.
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Folder that holds the images; required."""
    captions: Literal["lines", "whole"] = "lines"
    """Content of a `.txt` file: one caption per line, of which each visit uses one, or one caption as a whole.

    A `.json` file has its caption or list of captions under `text`, `caption` or `prompt`, and may weight them under
    `weights`. Next to a `.txt` file only its numbers are read, those that `model.scalars` names."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        from dit_run.data.formats import SUFFIXES

        named = Path(place)
        folder = named.parent if named.name in METADATA_NAMES and named.is_file() else named
        if not folder.is_dir():
            return None
        own = next((name for name in METADATA_NAMES if (folder / name).is_file()), None)
        found = own or next((file for file in _files(folder) if file.lower().endswith(SUFFIXES)), None)
        reason = f"images that {own} lists" if own else "a folder of images"
        return Recognised({"dataset_path": str(folder)}, reason, general=True) if found else None


def path_is_written(context: RuleContext) -> Iterator[Problem]:
    """Refuse a config without `dataset_path`: no default folder holds a user's own images."""
    path = (*context.path, "dataset_path")
    if path not in context.written:
        help_text = "set it to the folder of your images, for example dataset_path: ./my_images"
        yield Problem("missing-key", "data: type custom needs dataset_path", path, help=(help_text,))


def build(options: Custom, *, on_bad_sample: str = "error", scalars: Sequence[str] = ()) -> Dataset:
    """Return a dataset of each image with its captions.

    Raises InputError naming the file if anything is missing or broken.
    """
    root, skip = existing_folder(options.dataset_path), on_bad_sample == "skip"
    files = list(_files(root))
    folders = sorted({file.rpartition("/")[0] for file in files})
    metadata = find_metadata(root, folders)
    return (
        metadata_dataset(root, metadata, skip=skip, folders=folders, scalars=scalars)
        if metadata
        else _sidecars(root, files, options, skip, scalars)
    )


def _sidecars(root: Path, files: Sequence[str], options: Custom, skip: bool, scalars: Sequence[str]) -> Dataset:
    """Return the dataset of images with a text file of the same name next to each."""
    from dit_run.data.formats import SUFFIXES
    from dit_run_plugins.datasets.captioned_files import Tally, captioned_files

    images = sorted(file for file in files if file.lower().endswith(SUFFIXES))
    if not images:
        names = ", ".join(METADATA_NAMES)
        raise InputError(f"data.dataset_path: {root} has no images ({', '.join(SUFFIXES)}) and none of {names}")
    tally, stems = Tally(), {image.rpartition(".")[0] for image in images}
    for suffix in _OTHER_SUFFIXES:
        others = [file for file in files if file.lower().endswith(suffix)]
        tally.add(f"file of the format {suffix}, which is not read", others)
    texts = [file for file in files if file.lower().endswith(".txt") and file.rpartition(".")[0] not in stems]
    tally.add("text without an image", texts)
    captions = sidecar_captions(root, images, whole=options.captions == "whole", skip=skip)
    rows = ((image, caption) for image, own in captions.items() for caption in own)
    folders = {image.rpartition("/")[0] for image in images}
    columns = sidecar_scalars(root, captions, scalars)
    return captioned_files(root, rows, root, skip=skip, tally=tally, folders=folders, scalars=columns)


def _files(root: Path) -> Iterator[str]:
    """Yield relative paths of all files except hidden ones; links are followed, each folder is entered once."""
    entered = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in entered else sorted(name for name in folders if name[0] != ".")
        names = [] if real in entered else names
        entered.add(real)
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names if name[0] != ".")
