"""``python -m tests.endurance``: everything that a run must survive, at most an hour; resumable.

Results are kept in the folder given; cases that passed are not run again, until ``--again``. Parts with deadlines come
first, one case at a time; the others are shared by as many processes as there are cores. Exit status 1 where any case
failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from .results import Results, add_minutes, forget, minutes, table
from .work import PARTS, Work


def main() -> int:
    arguments = _arguments()
    began = time.monotonic()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.again:
        forget(folder)
    work = partial(Work, folder, began + 60 * arguments.minutes, sparse=arguments.sparse, busy=arguments.busy)
    chosen = [part for part in PARTS if any(words in part.name for words in arguments.part or [""])]
    alone, shared = ([part for part in chosen if part.alone is each] for each in (True, False))
    crews = [[work(alone)], [work(shared, share=n, shares=arguments.jobs) for n in range(1, arguments.jobs + 1)]]
    ended = [_perform_all(crew) for crew in crews]
    add_minutes(folder, (time.monotonic() - began) / 60)
    return int(_report(folder) or not all(ended))


def _perform_all(crew: Sequence[Work]) -> bool:
    """Each in a process of its own; whether all came to their end."""
    # Spawned: a forge forks runs from a process that has computed nothing.
    processes = [get_context("spawn").Process(target=work.perform) for work in crew if work.parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return all(process.exitcode == 0 for process in processes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("endurance-results"), help="where runs and results go")
    parser.add_argument("--part", action="append", help="only parts whose name has this in it; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that share the work")
    parser.add_argument("--sparse", action="store_true", help="the selection for CI: every n-th case")
    parser.add_argument("--busy", type=float, default=0, help="seconds added to deadlines, where other work goes on")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after so many")
    return parser.parse_args()


def _report(folder: Path) -> int:
    """Print a table of all results; 1 where something failed."""
    found = [(part, Results.read(folder / part.folder)) for part in PARTS]
    print(table(((part.name, part.unit, part.each, results) for part, results in found), minutes(folder)))
    return int(any(results.failed for _, results in found))


if __name__ == "__main__":
    sys.exit(main())
