"""Image files with captions in a few flat arrays, so that a million samples cost little memory and pickle fast."""

from __future__ import annotations

import os
from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_run.problems import InputError
from dit_run.protocols import Sample

__all__ = ["CaptionedFiles", "captioned_files"]


class Strings:
    """Texts end to end in one block of bytes."""

    def __init__(self, errors: str) -> None:
        self._errors = errors
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", self._errors)

    def append(self, text: str) -> None:
        self._bytes += text.encode("utf-8", self._errors)
        self._ends.append(len(self._bytes))


@dataclass(frozen=True)
class CaptionedFiles:
    """A dataset of image files in one folder; a sample's key is the image's path relative to that folder."""

    root: Path
    files: Strings
    captions: Strings
    order: NDArray[np.int64]
    """Numbers of the captions, grouped by file."""
    starts: NDArray[np.int64]
    """First position in ``order`` of each file, then the length of ``order``."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        file = self.files[index]
        own = self.order[self.starts[index] : self.starts[index + 1]]
        return Sample(file, tuple(self.captions[int(caption)] for caption in own), self.root / file)


def captioned_files(root: Path, rows: Iterable[tuple[str, str]], source: Path) -> CaptionedFiles:
    """Return the dataset of ``rows``: checked paths relative to ``root``, each with one caption.

    Samples keep the order in which their files first appear. Captions lose surrounding white space; empty ones are
    left out. Raises InputError naming ``source`` if no caption is left or an image is missing.
    """
    numbers: dict[str, int] = {}
    captions, owners = Strings("replace"), array("q")
    for file, text in rows:
        if caption := text.strip():
            captions.append(caption)
            owners.append(numbers.setdefault(file, len(numbers)))
    if not numbers:
        raise InputError(f"{source} has no image with a caption (data.dataset_path)")
    _refuse_missing(root, numbers, source)
    files = Strings("surrogateescape")
    for file in numbers:
        files.append(file)
    owner = np.frombuffer(owners, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner))])
    return CaptionedFiles(root, files, captions, np.argsort(owner, kind="stable"), starts)


def _refuse_missing(root: Path, files: Collection[str], source: Path) -> None:
    """Raise InputError for missing files. Each folder is listed once: much faster than asking for each file."""
    folders = {file.rpartition("/")[0] for file in files}
    existing = {folder: _names(root / folder) for folder in folders}
    missing = [file for file in files if file.rpartition("/")[2] not in existing[file.rpartition("/")[0]]]
    if missing:
        raise InputError(
            f"{source} names the image {missing[0]}, which is not in {root} (data.dataset_path); "
            f"{len(missing)} of {len(files)} images are missing"
        )


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()
