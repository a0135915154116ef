"""A contact sheet of the samples that deserve a look: duplicates, missing captions or images, and the largest crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dit_run.data.images import image_size, read_image
from dit_run.problems import InputError
from dit_run.protocols import Sample
from dit_run.sampling.drawn_captions import LINE_HEIGHT, draw_line
from dit_run.sampling.image_grid import grid
from dit_run.survey.data_report import DataReport

__all__ = ["Section", "problem_sheet", "sections"]

_TILE = 160
"""Longer side of an image on the sheet (pixels)."""
_COLUMNS = 8
_SHOWN = 16
"""Images of a section (number)."""
_OUTSIDE = 0.35
"""Brightness of the parts of an image that are cropped."""


@dataclass(frozen=True)
class Section:
    """Some images under a title."""

    title: str
    images: Sequence[Image.Image]
    captions: Sequence[str]


def problem_sheet(report: DataReport) -> Image.Image:
    """Return the sections below each other."""
    parts = [
        part for each in sections(report) for part in (_title(each), grid(each.images, each.captions, columns=_COLUMNS))
    ]
    sheet = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def sections(report: DataReport) -> Iterator[Section]:
    """Yield the sections that have something to show; the last one always has."""
    dataset = report.samples.dataset
    if report.duplicates:
        alike = [dataset[index] for group in report.duplicates for index in group[:2]][:_SHOWN]
        yield _section(f"{len(report.duplicates):,} groups of images with the same content", alike)
    for row in report.inventory.left_out:
        title = f"{row.count:,} x {row.reason}"
        if row.images:
            shown = [_thumbnail(image) for image in row.images[:_SHOWN]]
            yield Section(title, shown, [str(image) for image in row.images[:_SHOWN]])
        else:
            yield Section(title, [_blank()], [row.example])
    if len(report.images):
        yield _crops(report)


def _section(title: str, samples: Sequence[Sample]) -> Section:
    return Section(title, [_thumbnail(sample.image) for sample in samples], [sample.key for sample in samples])


def _crops(report: DataReport) -> Section:
    """Return the images of which most is cropped, with the cropped parts darkened."""
    order = np.argsort(-report.cropped, kind="stable")[:_SHOWN].tolist()
    images, captions = [], []
    for at in order:
        sample = report.samples.dataset[int(report.images.indices[at])]
        high, wide = report.sizes[at]
        images.append(_darkened(_thumbnail(sample.image), wide / high))
        captions.append(f"{report.cropped[at]:.0%} cropped to {high}x{wide}: {sample.key}")
    return Section("the largest crops; dark parts are cut off", images, captions)


def _thumbnail(image: object) -> Image.Image:
    try:
        height, width = image_size(image)  # type: ignore[arg-type]
        scale = _TILE / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return Image.fromarray(np.ascontiguousarray(read_image(image, size)))  # type: ignore[arg-type]
    except InputError:
        return _blank()


def _blank() -> Image.Image:
    return Image.new("RGB", (_TILE, _TILE // 2), "lightgray")


def _darkened(image: Image.Image, aspect: float) -> Image.Image:
    """Return the image with all outside its central part of this aspect ratio (width / height) darkened."""
    width, height = image.size
    kept_width, kept_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    result = image.point(lambda value: int(value * _OUTSIDE))
    box = (left, top, left + max(1, kept_width), top + max(1, kept_height))
    result.paste(image.crop(box), box[:2])
    return result


def _title(section: Section) -> Image.Image:
    line = Image.new("RGB", (_COLUMNS * _TILE, 2 * LINE_HEIGHT), "white")
    draw_line(ImageDraw.Draw(line), (4, LINE_HEIGHT // 2), section.title, line.width)
    return line
