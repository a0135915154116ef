"""``dit-run report``: write runs as one file that a browser opens from disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from dit_run.cli.view_extra import require_view
from dit_run.problems import InputError
from dit_run.system.durable import write_atomic
from dit_run.system.units import size_text

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")
    parser.add_argument(
        "-o", "--output", default="report.html", metavar="FILE", help="file to write (default: report.html)"
    )
    parser.add_argument("--originals", action="store_true", help="add the grids as the PNG files that they are")


def run(arguments: argparse.Namespace) -> int:
    output = Path(arguments.output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"--output {output} cannot be written; name a file in an existing folder")
    folders = [Path(folder) for folder in arguments.runs]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; name runs, or a folder of runs")
    require_view()
    from dit_run.view.library import RunLibrary
    from dit_run.view.report import report_html

    library = RunLibrary(folders)
    count = len(library.runs())
    if not count:
        raise InputError(f"there is no run in {', '.join(map(str, folders))}")
    content = report_html(library, originals=arguments.originals).encode("utf-8", "replace")
    write_atomic(output, content)
    print(f"{output}: {count} {'run' if count == 1 else 'runs'}, {size_text(len(content))}")
    return 0
