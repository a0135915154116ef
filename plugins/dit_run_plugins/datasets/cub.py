"""Caltech-UCSD Birds 200 (Wah et al., 2011), with the captions of Reed et al. (2016) where they are present."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run_plugins.datasets.metadata_files import existing_folder, relative_file

if TYPE_CHECKING:
    from dit_run.protocols import Dataset

__all__ = ["Cub", "build", "class_caption"]


@dataclass(frozen=True, kw_only=True)
class Cub:
    """CUB-200-2011: `CUB_200_2011/` with captions from `text_c10/` or, without it, from the names of the classes; or a
    prepared `metadata.json`."""

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Where the data lies: the folder that holds `CUB_200_2011` and `text_c10` (or `cvpr2016_cub`); also the former."""


def build(options: Cub) -> Dataset:
    """Each image with its captions; its key is the path below ``images``.

    Raises InputError for what is missing or broken, naming the file.
    """
    from dit_run_plugins.datasets.captioned_files import Builder
    from dit_run_plugins.datasets.prepared import prepared

    root = existing_folder(options.dataset_path)
    bases = [root, *sorted((root / "versions").glob("*/"), reverse=True)]
    homes = [home for base in bases for home in (base / "CUB_200_2011", base) if (home / "images.txt").is_file()]
    if not homes:
        return prepared(root, "CUB_200_2011/images.txt")
    home = homes[0]
    builder = Builder(home / "images")
    for file, caption in _captions(home, _text_folder([*bases, home])):
        builder.add(file, caption)
    return builder.build(home / "images.txt")


def class_caption(name: str) -> str:
    """A caption from the name of a class: ``001.Black_footed_Albatross`` is a photo of a black footed albatross."""
    bird = name.partition(".")[2].replace("_", " ").lower()
    return f"a photo of {'an' if bird[:1] in 'aeiou' else 'a'} {bird}"


def _text_folder(bases: list[Path]) -> Path | None:
    folders = [base / place for base in bases for place in ("text_c10", "cvpr2016_cub/text_c10")]
    return next((folder for folder in folders if folder.is_dir()), None)


def _captions(home: Path, texts: Path | None) -> Iterator[tuple[str, str]]:
    files = _table(home / "images.txt")
    labels, classes = ({}, {}) if texts else (_table(home / "image_class_labels.txt"), _table(home / "classes.txt"))
    for number, name in files.items():
        file = relative_file(name, f"{home / 'images.txt'}: image {number}")
        if texts:
            yield from ((file, caption) for caption in _lines((texts / file).with_suffix(".txt")))
        elif labels.get(number) in classes:
            yield file, class_caption(classes[labels[number]])
        else:
            raise InputError(f"{home / 'image_class_labels.txt'}: image {number} ({file}) has no class")


def _table(file: Path) -> dict[str, str]:
    """Lines of a number and a text."""
    table = {}
    for place, line in enumerate(_lines(file), start=1):
        number, space, text = line.strip().partition(" ")
        if not space:
            raise InputError(f"{file}:{place}: expected a number, a space and a text, not {line!r}")
        table[number] = text.strip()
    return table


def _lines(file: Path) -> list[str]:
    """Lines that are not empty. A few of the captions hold broken bytes, which become question marks."""
    try:
        return [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror} (data.dataset_path)") from error
