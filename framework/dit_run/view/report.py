"""A report: runs as one file with all its data and images, which a browser opens without a server or a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dit_run import __version__
from dit_run.runs.reading.run_files import RunFiles
from dit_run.runs.reading.sample_grids import SampleGrid
from dit_run.view.app import HERE, plain_json, templates
from dit_run.view.config_entries import config_entries, differing_entries
from dit_run.view.curves import curves
from dit_run.view.library import RunLibrary, run_id
from dit_run.view.one_script import one_script
from dit_run.view.run_data import run_details, run_row, samples
from dit_run.view.web_images import cells_webp, file_webp

__all__ = ["report_html"]

_IMAGE_BYTES = 6_000_000
"""Bytes of the images of a run, which base64 makes larger by a third."""
_SIDES = (512, 384, 256, 192, 128, 96, 64, 48)
"""Sides of a sample (pixels) of which the largest that fits is taken."""
_QUALITY = 80
_MOST_GRIDS = 100
_WHOLE = 600
"""Longer side of a grid whose layout is not known (pixels)."""
_POINTS = 600


def report_html(library: RunLibrary, *, originals: bool = False) -> str:
    """Return the report of all runs of a library; ``originals`` adds the PNG files of the grids."""
    runs = library.runs()
    details, images = dict[str, Any](), dict[str, str]()
    for name, files in runs.items():
        grids = _thinned(library.grids(files))
        details[name] = {**run_details(library, files), "samples": samples(grids)}
        images |= dict(_images(files, grids, originals=originals))
    data = {
        "runs": {"folders": [], "runs": [run_row(files, library.summary(files)) for files in runs.values()]},
        "details": details,
        "curves": {name: _curves(library, files) for name, files in runs.items()},
        "configs": {name: config_entries(files) for name, files in runs.items()},
        "differences": differing_entries(list(runs.values())) if len(runs) > 1 else [],
        "images": images,
    }
    return _page(data)


def _page(data: Mapping[str, Any]) -> str:
    static = HERE / "static"
    icon = base64.b64encode((static / "icon.svg").read_bytes()).decode()
    style = (static / "uplot.css").read_text() + (static / "page.css").read_text()
    style = style.replace("icon.svg", f"data:image/svg+xml;base64,{icon}")
    plot, script = (static / "uplot.js").read_text(), one_script(static, "main")
    return (
        templates()
        .get_template("report.html")
        .render(
            version=__version__,
            data=Markup(plain_json(data).decode().replace("<", "\\u003c")),
            style=Markup(style),
            plot=Markup(plot),
            script=Markup(script),
            scripts=Markup(f"{_hash(plot)} {_hash(script)}"),
            styles=Markup(_hash(style)),
        )
    )


def _hash(text: str) -> str:
    """Return the source of a content policy that allows exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _curves(library: RunLibrary, files: RunFiles) -> dict[str, Any]:
    log = library.log(files)
    if log is None:
        return {}
    log.read()
    return curves(log, _POINTS)


def _thinned(grids: Sequence[SampleGrid]) -> Sequence[SampleGrid]:
    """Return at most ``_MOST_GRIDS``, spread evenly, with the first and the last."""
    if len(grids) <= _MOST_GRIDS:
        return grids
    return [grids[index * (len(grids) - 1) // (_MOST_GRIDS - 1)] for index in range(_MOST_GRIDS)]


def _images(files: RunFiles, grids: Sequence[SampleGrid], *, originals: bool) -> Iterator[tuple[str, str]]:
    """Yield the images of a run as data addresses by name."""
    name = run_id(files)
    for grid, cells in _samples(grids):
        for index, cell in enumerate(cells):
            yield f"{name}/{grid.step}/{index}", _address(cell, "webp")
        whole = None if cells else file_webp(grid.path, side=_WHOLE)
        if whole is not None:
            yield f"{name}/{grid.step}/grid", _address(whole, "webp")
        if originals:
            yield f"{name}/{grid.step}/grid", _address(grid.path.read_bytes(), "png")
    check = files.file("check.png")
    sheet = None if check is None else file_webp(check, side=1400)
    if sheet is not None:
        yield f"{name}/check", _address(sheet, "webp")


def _samples(grids: Sequence[SampleGrid]) -> list[tuple[SampleGrid, list[bytes]]]:
    """Return the samples of each grid, as large as the space allows; none of a grid without a known layout."""
    made: list[tuple[SampleGrid, list[bytes]]] = []
    for side in _SIDES:
        newest = cells_webp(grids[-1], side=side, quality=_QUALITY) if grids else []
        if sum(map(len, newest)) * len(grids) > 1.3 * _IMAGE_BYTES and side != _SIDES[-1]:
            continue
        made = [(grid, cells_webp(grid, side=side, quality=_QUALITY)) for grid in grids]
        if sum(len(cell) for _, cells in made for cell in cells) <= _IMAGE_BYTES:
            break
    return made


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
