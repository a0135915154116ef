"""All benchmarks: ``python -m benchmarks [NAME ...] [--again]``.

Runs the scripts that have no report in ``benchmarks/results/``, one after the other, so the command resumes after an
interrupt; ``--again`` runs all of them. Then it writes ``benchmarks/RESULTS.md`` from all reports. The long trainings
run only if they are named, and resume too. The exit status is 1 if a script fails; missed bars are marked in the
results. The compared libraries come with ``pip install 'dit-run[bench]'``; comparisons with a missing library are
skipped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .gpu.page import section_of, write_section
from .measuring import Bar, Report, Table, markdown

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
MINUTES = {
    "step": 8.5,
    "loop": 1.5,
    "plan": 4.5,
    "epochs": 5.0,
    "cache": 1.0,
    "cache_index": 1.5,
    "decode": 0.5,
    "sampling": 2.5,
    "index": 1.0,
    "shard_index": 3.0,
    "shards": 2.0,
    "plugins": 1.0,
    "validate": 1.5,
    "buckets": 4.0,
    "view": 4.0,
}
"""Scripts in their order, with the minutes that each takes on two cores."""
PAGES = {"time_to_quality": 65.0, "ablation": 85.0, "recipe": 75.0}
"""Long trainings that store finished parts and write their own page, with their minutes."""
ALL = {**MINUTES, **PAGES, "emoji": 20.0, "choices": 60.0}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(ALL)}")
    parser.add_argument("--again", action="store_true", help="also run scripts that have a report")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - ALL.keys():
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(ALL)}")
    names = [name for name in ALL if name in (arguments.names or MINUTES)]
    wanted = [name for name in names if arguments.again or not _report_of(name).exists()]
    print(f"{len(wanted)} scripts to run, about {sum(ALL[name] for name in wanted):.0f} minutes", flush=True)
    failed = [name for name in wanted if not run(name)]
    reports = {name: json.loads(_report_of(name).read_text()) for name in ALL if _report_of(name).exists()}
    page = FOLDER / "RESULTS.md"
    on_gpu = section_of(page)
    page.write_text(results(reports))
    if on_gpu is not None:  # measured by benchmarks.gpu, perhaps on another machine
        write_section(page, on_gpu)
    print(f"{FOLDER / 'RESULTS.md'} has {len(reports)} reports" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


def run(name: str) -> bool:
    """Run one script; return True if it wrote a report or its page."""
    print(f"\n{name}: about {ALL[name]:g} minutes", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    if name in PAGES:
        page = FOLDER / f"{name.upper()}.md"
        before = page.stat().st_mtime_ns if page.exists() else None
        subprocess.run(command, cwd=FOLDER.parent)
        return page.exists() and page.stat().st_mtime_ns != before
    path = _report_of(name)
    path.unlink(missing_ok=True)
    subprocess.run([*command, "--json", str(path)], cwd=FOLDER.parent)
    return path.exists()


def results(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all reports as one page, bars first."""
    places = {_place(report) for report in reports.values()}
    common = f"\n\n{places.pop()}" if len(places) == 1 else ""
    bars = [bar for report in reports.values() for bar in _report(report).bars]
    summary = markdown(Report("", bars=bars))
    sections = [_section(name, report, placed=not common) for name, report in reports.items()]
    return "\n\n".join([f"{HEAD}{common}", summary, *sections, *_others()]) + "\n"


HEAD = """# Benchmarks

Written by `python -m benchmarks`; each number comes from the script named above it. Contestants take turns. Times are
medians; ratios are medians over neighbouring turns. A section with numbers from several runs says so."""


def _section(name: str, report: Mapping[str, Any], *, placed: bool) -> str:
    where = f"\n\n{_place(report)}" if placed else ""
    source = f"`python benchmarks/{name}.py`, {report['date']}"
    return f"## {report['title']}\n\n{source}{where}\n\n{markdown(_report(report))}"


def _place(report: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"Machine: {report['machine']}. Versions: {versions}."


def _report(content: Mapping[str, Any]) -> Report:
    bars = [Bar(**{key: value for key, value in bar.items() if key != "met"}) for bar in content["bars"]]
    return Report(content["title"], [Table(**table) for table in content["tables"]], bars, content["notes"])


def _others() -> Sequence[str]:
    """Return links to the pages that long trainings wrote."""
    paths = [path for path in sorted(FOLDER.glob("*.md")) if path.name != "RESULTS.md"]
    links = [f"- [{path.read_text().partition(chr(10))[0].lstrip('# ')}]({path.name})" for path in paths]
    return ["\n".join(["## Results of long runs", "", *links])] if links else []


def _report_of(name: str) -> Path:
    return RESULTS / f"{name}.json"


if __name__ == "__main__":
    raise SystemExit(main())
