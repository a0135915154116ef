"""``dit-run init DATA``: look at data and machine, and write a config that trains on them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_overrides, add_plugin_flags, installed
from dit_run.problems import InputError
from dit_run.system.units import size_text

if TYPE_CHECKING:
    from dit_run.survey.starting import ProposedConfig

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "place",
        metavar="DATA",
        help="images with captions: a folder, a file, a pattern, URLs of shards, or a name on the Hugging Face Hub",
    )
    add_overrides(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("config.yaml"), metavar="FILE", help="config (default: config.yaml)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing config")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"--output {output} cannot be written; name a file in an existing folder")
    if output.exists() and not arguments.force:
        raise InputError(f"{output} exists already; name another file with -o FILE, or replace it with --force")
    from dit_run.cli.progress import progress_on_stderr
    from dit_run.compute.devices import choose_device
    from dit_run.survey.starting import given_values, start
    from dit_run.system.durable import write_atomic

    given = given_values(arguments.overrides)
    device = choose_device(str(given.get("training", {}).get("device", "auto")))
    with progress_on_stderr(quiet=arguments.quiet) as reporter:
        begun = start(
            arguments.place, given, name=output.stem, registry=installed(arguments), device=device, reporter=reporter
        )
    write_atomic(output, begun.text.encode())
    for line in (*_facts(begun), f"wrote    {output}", "next:", *_next(output)):
        print(line)
    return 0


def _facts(begun: ProposedConfig) -> Iterator[str]:
    from dit_run.cli.data_lines import caption_line, image_line

    yield f"data     {begun.found.type}: {begun.found.reason}"
    yield f"images   {image_line(begun.images)}"
    yield f"captions {caption_line(begun.images, begun.texts)}"
    for key, reason in list(begun.images.broken.items())[:3]:
        yield f"broken   {key}: {reason}"
    for row in getattr(begun.found.dataset, "left_out", ()):
        yield f"left out {row.count:,} x {row.reason}, such as {row.example}"
    machine = begun.machine
    yield f"machine  {machine.name}, {size_text(machine.memory)}; {size_text(machine.free)} of disk free"
    if begun.fallback:
        yield f"note     trains on pixels, because pretrained encoders cannot be used: {begun.fallback}"


def _next(output: Path) -> list[str]:
    name = shlex.quote(str(output))
    return [
        f"  dit-run data {name}    # a contact sheet and histograms of the data",
        f"  dit-run check {name}   # one batch through all parts",
        f"  dit-run {name}",
    ]
