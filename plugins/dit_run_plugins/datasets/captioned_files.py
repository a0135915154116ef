"""Image files with captions in a few flat arrays, so that a million samples cost little memory and pickle fast."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dit_run.data.caption_weights import Caption, sample_weights
from dit_run.data.scalar_columns import ScalarColumns, ScalarTable
from dit_run.problems import InputError
from dit_run.protocols import LeftOut, Sample

__all__ = ["CaptionedFiles", "Tally", "captioned_files", "is_hidden"]

_NAMED = 5
"""Missing images that are listed by name (number)."""
_SHOWN = 16
"""Images of each reason that can be shown (number)."""

_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of listing a folder that does not exist, whose images are missing."""


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
    starts: NDArray[np.int64]
    """Number of the first caption of each file, then the number of captions."""
    left_out: tuple[LeftOut, ...] = ()
    weights: NDArray[np.float64] | None = None
    """Weight of each caption; None: all are equal."""
    scalars: ScalarTable | None = None
    """Numbers of each file; None: there are none."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        file = self.files[index]
        first, end = int(self.starts[index]), int(self.starts[index + 1])
        texts = tuple(self.captions[caption] for caption in range(first, end))
        weights = () if self.weights is None else sample_weights(self.weights[first:end].tolist())
        scalars = {} if self.scalars is None else self.scalars[index]
        return Sample(file, texts, self.root / file, weights, scalars)


class Tally:
    """Counts of what a dataset leaves out, by reason."""

    def __init__(self) -> None:
        self._found: dict[str, LeftOut] = {}

    def add(self, reason: str, examples: Collection[str], root: Path | None = None) -> None:
        """Count these, which may be none; with ``root`` they are images in this folder."""
        if examples:
            before = self._found.get(reason, LeftOut(reason, 0, min(examples)))
            shown = () if root is None else tuple(root / name for name in nsmallest(_SHOWN, examples))
            self._found[reason] = replace(before, count=before.count + len(examples), images=before.images + shown)

    def rows(self) -> tuple[LeftOut, ...]:
        return tuple(self._found.values())


def captioned_files(
    root: Path,
    rows: Iterable[tuple[str, Caption]],
    source: Path,
    *,
    skip: bool = False,
    tally: Tally | None = None,
    folders: Collection[str] = (),
    scalars: ScalarColumns | None = None,
) -> CaptionedFiles:
    """Return the dataset of ``rows``: checked paths relative to ``root``, each with one caption.

    Samples keep the order in which their files first appear. Captions lose surrounding white space; empty ones are
    left out. Images in the folders of the samples, and in further ``folders``, that have no row are left out, too, and
    counted in the dataset's ``left_out`` with what ``tally`` has. With ``skip`` missing images are left out.
    ``scalars`` are filled while ``rows`` are read.

    Raises InputError naming ``source`` if no caption is left or an image is missing.
    """
    captions: dict[str, list[Caption]] = {}
    for file, caption in rows:
        if text := caption.text.strip():
            captions.setdefault(file, []).append(Caption(text, caption.weight))
    if not captions:
        raise InputError(f"{source} has no image with a caption (data.dataset_path)")
    tally = tally or Tally()
    existing = _images(root, {file.rpartition("/")[0] for file in captions} | set(folders))
    missing = dict.fromkeys(file for file in captions if file not in existing.all)
    if missing and not (skip and len(missing) < len(captions)):
        raise InputError(_missing_text(root, list(missing), len(captions), source))
    tally.add("image that is missing", missing)
    reason = "image without a caption" if source == root else f"image without a caption in {source.name}"
    tally.add(reason, [file for file in existing.images if file not in captions], root)
    kept = {file: captions[file] for file in captions if file not in missing}
    return _packed(root, kept, tally, None if scalars is None else scalars.table(kept))


def _packed(
    root: Path, captions: Mapping[str, Sequence[Caption]], tally: Tally, scalars: ScalarTable | None
) -> CaptionedFiles:
    files, texts, counts = Strings("surrogateescape"), Strings("replace"), [len(own) for own in captions.values()]
    for file, own in captions.items():
        files.append(file)
        for caption in own:
            texts.append(caption.text)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    weights = np.array([caption.weight for own in captions.values() for caption in own])
    unequal = None if np.all(weights == weights[0]) else weights
    return CaptionedFiles(root, files, texts, starts, tally.rows(), unequal, scalars)


def _missing_text(root: Path, missing: Sequence[str], count: int, source: Path) -> str:
    others = f"; also missing: {', '.join(missing[1:_NAMED])}" if len(missing) > 1 else ""
    return (
        f"{source} names the image {missing[0]}, which is not in {root} (data.dataset_path); {len(missing)} of {count} "
        f"images are missing{others}{', …' if len(missing) > _NAMED else ''}; "
        "data.on_bad_sample: skip leaves them out"
    )


class _Files(NamedTuple):
    """Paths relative to the root."""

    all: set[str]
    images: list[str]


def _images(root: Path, folders: Collection[str]) -> _Files:
    """List each folder once: much faster than asking for each file."""
    from dit_run.data.formats import SUFFIXES

    names = [f"{folder}/{name}" if folder else name for folder in sorted(folders) for name in _names(root / folder)]
    return _Files(set(names), [name for name in names if name.lower().endswith(SUFFIXES) and not is_hidden(name)])


def is_hidden(file: str) -> bool:
    """Return True for a file whose name starts with a dot."""
    return file.rpartition("/")[2].startswith(".")


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            return []
        raise InputError(f"{folder}: {error.strerror} (data.dataset_path)") from error
