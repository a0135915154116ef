"""Image files with captions, held compactly: a million of them are a few arrays, which travel to workers cheaply."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_run.problems import InputError
from dit_run.protocols import Sample

__all__ = ["Builder", "CaptionedFiles"]

Ints = NDArray[np.int64]


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


class CaptionedFiles:
    """A dataset of image files below one folder; a sample's key is its path relative to that folder."""

    def __init__(self, root: Path, files: Strings, captions: Strings, order: Ints, starts: Ints) -> None:
        self._root, self._files, self._captions = root, files, captions
        self._order, self._starts = order, starts

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        file = self._files[index]
        own = self._order[self._starts[index] : self._starts[index + 1]]
        return Sample(file, tuple(self._captions[int(caption)] for caption in own), self._root / file)


class Builder:
    """Collects captions by file; samples keep the order in which their files were first named."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers: dict[str, int] = {}
        self._captions = Strings("replace")
        self._owners = array("q")

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, file: str, caption: str) -> None:
        """One more caption of ``file``, a checked path relative to the root; white space around it goes.

        A caption of nothing else is left out.
        """
        caption = caption.strip()
        if caption:
            self._captions.append(caption)
            self._owners.append(self._numbers.setdefault(file, len(self._numbers)))

    def build(self, source: Path) -> CaptionedFiles:
        """The dataset. Raises InputError, naming ``source``, where it is empty or a named image is not there."""
        if not self._numbers:
            raise InputError(f"{source} names no image with a caption (data.dataset_path)")
        self._refuse_missing(source)
        files = Strings("surrogateescape")
        for file in self._numbers:
            files.append(file)
        owners = np.frombuffer(self._owners, dtype=np.int64)
        counts = np.bincount(owners, minlength=len(files))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return CaptionedFiles(self._root, files, self._captions, np.argsort(owners, kind="stable"), starts)

    def _refuse_missing(self, source: Path) -> None:
        missing = list(_missing(self._root, self._numbers))
        if missing:
            raise InputError(
                f"{source} names the image {missing[0]}, which is not below {self._root} (data.dataset_path); "
                f"{len(missing)} of {len(self._numbers)} are missing"
            )


def _missing(root: Path, files: Iterable[str]) -> Iterable[str]:
    """Each folder is listed once: a hundred times quicker than asking for each file, and more so over a network."""
    listings: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in listings:
            listings[folder] = _names(root / folder)
        if name not in listings[folder]:
            yield file


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()
