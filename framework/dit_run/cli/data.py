"""``dit-run data CONFIG``: statistics of the data with histograms, and a contact sheet of its problems."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_config, print_notices, resolved
from dit_run.cli.data_lines import caption_line, histogram, image_line
from dit_run.problems import InputError

if TYPE_CHECKING:
    from dit_run.survey.data_report import DataReport

__all__ = ["configure", "run"]

_NAMED = 10
"""Groups of duplicates and unreadable images that are listed by name (number)."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--output", default="data.png", metavar="FILE", help="file for the contact sheet (default: data.png)"
    )


def run(arguments: argparse.Namespace) -> int:
    sheet = Path(arguments.output)
    if sheet.is_dir() or not sheet.absolute().parent.is_dir():
        raise InputError(f"--output {sheet} cannot be written; name a file in an existing folder")
    config = resolved(arguments, "data.on_bad_sample=skip").config
    print_notices(config, arguments)
    from dit_run.sampling.image_files import save_png
    from dit_run.survey.data_report import report_data
    from dit_run.survey.problem_sheet import problem_sheet

    report = report_data(config)
    for line in (*_summary(report), *_histograms(report), *_findings(report)):
        print(line)
    save_png(sheet, problem_sheet(report))
    print(f"samples that deserve a look: {sheet}")
    return 0


def _summary(report: DataReport) -> Iterator[str]:
    yield f"samples  {len(report.samples):,} for training, {report.held_out:,} held out"
    yield f"images   {image_line(report.images)}"
    yield f"captions {caption_line(report.images, report.texts)}"
    if len(report.images):
        yield f"cropped  {report.cropped.mean():.1%} of the pixels, by image at most {report.cropped.max():.0%}"
    yield from report.inventory.lines()
    yield from report.fit


def _histograms(report: DataReport) -> Iterator[str]:
    from dit_run.survey import histograms

    images = report.images
    yield from histogram("size (side of a square of the same area, pixels)", histograms.of_sides(images.sides))
    yield from histogram("aspect (width : height)", histograms.of_aspects(images.heights, images.widths))
    yield from histogram("captions per image", histograms.of_counts(images.captions))
    for texts in report.texts:
        yield from histogram("tokens per caption", histograms.of_tokens(texts.tokens, texts.limit, texts.longer))


def _findings(report: DataReport) -> Iterator[str]:
    images, dataset = report.images, report.samples.dataset
    yield (
        f"unreadable: {len(images.broken):,} (the pixels of {images.decoded:,} images were read, and the header of all)"
    )
    yield from (f"  {key}: {reason}" for key, reason in list(images.broken.items())[:_NAMED])
    repeated = sum(len(group) - 1 for group in report.duplicates)
    yield f"repeated: {repeated:,}"
    for group in report.duplicates[:_NAMED]:
        yield f"  {', '.join(dataset[index].key for index in group)}"
