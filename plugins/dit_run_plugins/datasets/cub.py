"""Caltech-UCSD Birds 200 (Wah et al., 2011), with the captions of Reed et al. (2016) if they are present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from dit_run.data.caption_weights import Caption
from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run.protocols import Recognised
from dit_run_plugins.datasets.checked_paths import existing_folder, relative_file
from dit_run_plugins.datasets.metadata_files import prepared_dataset

if TYPE_CHECKING:
    from dit_run.protocols import Dataset

__all__ = ["Cub", "build", "class_caption"]


@dataclass(frozen=True, kw_only=True)
class Cub:
    """CUB-200-2011: a `CUB_200_2011` folder, or a prepared `metadata.json`.

    Captions come from `text_c10` or, without it, from the class names.
    """

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Folder that holds `CUB_200_2011` and `text_c10` (or `cvpr2016_cub`), or `CUB_200_2011` itself."""
    subset: Literal["all", "train", "test"] = "all"
    """Images to use: all, or one side of the dataset's own `train_test_split.txt`."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        return Recognised({"dataset_path": place}, "the folder of CUB-200-2011") if _homes(Path(place)) else None


def build(options: Cub, *, on_bad_sample: str = "error", scalars: Sequence[str] = ()) -> Dataset:
    """Return a dataset of each image with its captions; a sample's key is its path in the folder ``images``.

    Raises InputError naming the file if anything is missing or broken.
    """
    from dit_run_plugins.datasets.captioned_files import captioned_files

    root, skip = existing_folder(options.dataset_path), on_bad_sample == "skip"
    homes = _homes(root)
    if not homes:
        if options.subset != "all":
            raise InputError(f"data.subset is {options.subset}, but {root} has no CUB_200_2011/train_test_split.txt")
        return prepared_dataset(root, "CUB_200_2011/images.txt", skip=skip, scalars=scalars)
    home = homes[0]
    rows = _captions(home, _files(home, options.subset), _text_folder([*_bases(root), home]))
    return captioned_files(home / "images", rows, home / "images.txt", skip=skip)


def _bases(root: Path) -> list[Path]:
    return [root, *sorted((root / "versions").glob("*/"), reverse=True)]


def _homes(root: Path) -> list[Path]:
    """Return the folders that have the list of images."""
    homes = [home for base in _bases(root) for home in (base / "CUB_200_2011", base)]
    return [home for home in homes if (home / "images.txt").is_file()]


def class_caption(name: str) -> str:
    """Return a caption from a class name: ``001.Laysan_Albatross`` becomes "a photo of a laysan albatross"."""
    bird = name.partition(".")[2].replace("_", " ").lower()
    return f"a photo of {'an' if bird[:1] in 'aeiou' else 'a'} {bird}"


def _text_folder(bases: list[Path]) -> Path | None:
    folders = [base / place for base in bases for place in ("text_c10", "cvpr2016_cub/text_c10")]
    return next((folder for folder in folders if folder.is_dir()), None)


def _files(home: Path, subset: str) -> dict[str, str]:
    """Return the image files of a subset by number."""
    files = _table(home / "images.txt")
    if subset == "all":
        return files
    sides, wanted = _table(home / "train_test_split.txt"), "1" if subset == "train" else "0"
    return {number: name for number, name in files.items() if sides.get(number) == wanted}


def _captions(home: Path, files: dict[str, str], texts: Path | None) -> Iterator[tuple[str, Caption]]:
    labels, classes = ({}, {}) if texts else (_table(home / "image_class_labels.txt"), _table(home / "classes.txt"))
    for number, name in files.items():
        file = relative_file(name, f"{home / 'images.txt'}: image {number}")
        if texts:
            yield from ((file, Caption(caption)) for caption in _lines((texts / file).with_suffix(".txt")))
        elif labels.get(number) in classes:
            yield file, Caption(class_caption(classes[labels[number]]))
        else:
            raise InputError(f"{home / 'image_class_labels.txt'}: image {number} ({file}) has no class")


def _table(file: Path) -> dict[str, str]:
    """Read lines of a number and a text."""
    table = {}
    for place, line in enumerate(_lines(file), start=1):
        number, space, text = line.strip().partition(" ")
        if not space:
            raise InputError(f"{file}:{place}: expected a number, a space and a text, not {line!r}")
        table[number] = text.strip()
    return table


def _lines(file: Path) -> list[str]:
    """Read the lines that are not empty. Invalid bytes, which a few captions have, become replacement characters."""
    try:
        return [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error
