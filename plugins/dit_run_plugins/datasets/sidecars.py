"""Captions and numbers in a file next to each image: a text, or a JSON object, of the same name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dit_run.data.caption_weights import Caption
from dit_run.data.scalar_columns import ScalarColumns
from dit_run.problems import InputError
from dit_run_plugins.datasets.metadata_files import METADATA_NAMES, captions_of, read_json
from dit_run_plugins.datasets.text_files import read_text

__all__ = ["sidecar_captions", "sidecar_scalars"]

_NAMED = 5
"""Images without a caption that are listed by name (number)."""


class _NoCaption(Exception):
    """An image has no caption."""


def sidecar_captions(root: Path, images: Sequence[str], *, whole: bool, skip: bool) -> dict[str, list[Caption]]:
    """Return the captions of each image, whose path is relative to ``root``.

    ``whole`` joins the lines of a text into one caption. With ``skip`` images without a caption are left out, unless
    none has one. Raises InputError naming them otherwise, and for a file that cannot be read.
    """
    captions, problems = dict[str, list[Caption]](), list[str]()
    for image in images:
        try:
            captions[image] = _captions(root / image, whole)
        except _NoCaption as problem:
            problems.append(str(problem))
    if problems and not (skip and captions):
        count = f"; {len(problems)} of {len(images)} images have no caption" if len(problems) > 1 else ""
        others = "".join(f"\n  {problem}" for problem in problems[1:_NAMED])
        skipping = ", or set data.on_bad_sample: skip to leave out such images" if captions else ""
        raise InputError(
            f"{problems[0]}, or add one of {', '.join(METADATA_NAMES)} to data.dataset_path{skipping}{count}{others}"
        )
    return captions


def sidecar_scalars(root: Path, images: Iterable[str], names: Sequence[str]) -> ScalarColumns:
    """Return the numbers of these names in the JSON object of each image that has one.

    Raises InputError for a file that cannot be read, and for a value that is no number.
    """
    columns = ScalarColumns(names)
    for image in images if names else ():
        record = _beside(root / image, ".json")
        if record is not None:
            columns.add(image, read_json(record), str(record))
    return columns


def _captions(image: Path, whole: bool) -> list[Caption]:
    """Return the captions of the text, or of the JSON object where there is no text."""
    text = _beside(image, ".txt")
    if text is None:
        record = _beside(image, ".json")
        if record is not None:
            return captions_of(read_json(record), str(record))
        raise _NoCaption(f"{image} has no caption: write it to {image.stem}.txt in the same folder")
    lines = [" ".join(line.split()) for line in read_text(text).splitlines()]
    captions = [line for line in lines if line]
    if not captions:
        raise _NoCaption(f"{text}: expected a caption, but the file is empty: write it there")
    return [Caption(" ".join(captions))] if whole else [Caption(caption) for caption in captions]


def _beside(image: Path, suffix: str) -> Path | None:
    """Return the file with the name of an image and a suffix in lower or upper case; None without one."""
    paths = (image.with_suffix(suffix), image.with_suffix(suffix.upper()))
    return next((path for path in paths if path.is_file()), None)
