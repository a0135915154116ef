"""``dit-run cache``: build, verify, inspect or clean the cache."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_overrides, add_plugin_flags, print_notices, resolved, setting
from dit_run.compute.launchers import find_launch
from dit_run.problems import InputError
from dit_run.system.units import read_size, size_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["configure", "run"]

_MAINTENANCE = ("info", "verify", "gc")
_UNUSED_DAYS = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "dit-run cache CONFIG [key=value ...]\n       dit-run cache info|verify|gc [--dir DIR] ..."
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG|info|verify|gc",
        help="build the cache of a config, or list, check or clean the whole cache",
    )
    add_overrides(parser)
    parser.add_argument("--dir", metavar="DIR", help="folder of the cache (default: cache.dir of the config)")
    parser.add_argument(
        "--unused-days",
        type=float,
        metavar="N",
        help=f"gc: remove parts that were not used for N days (default: {_UNUSED_DAYS:g})",
    )
    parser.add_argument(
        "--max-size", metavar="SIZE", help="gc: remove the parts unused for longest until SIZE is left, such as 50GB"
    )
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    task = arguments.config
    if task is None:
        raise InputError("dit-run cache needs a config, or one of info, verify and gc (see dit-run cache --help)")
    if task != "gc" and (arguments.unused_days is not None or arguments.max_size is not None):
        raise InputError("--unused-days and --max-size are options of dit-run cache gc only; leave them out")
    if task not in _MAINTENANCE:
        return _build(arguments)
    if arguments.overrides:
        raise InputError(f"dit-run cache {task} takes no {arguments.overrides[0]!r}; name the cache with --dir DIR")
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    return {"info": _info, "verify": _verify, "gc": _gc}[task](_root(arguments.dir), console, arguments)


def _root(given: str | None) -> Path:
    """Return the folder of the cache."""
    from dit_run.cache.open_cache import default_folder

    if given is None:
        return default_folder("--dir")
    root = Path(given)
    if not given or not root.is_dir():
        found = "empty" if not given else "a file" if root.exists() else "a folder that does not exist"
        raise InputError(f"--dir {given!r} is {found}; name the folder of a cache")
    return root


def _build(arguments: argparse.Namespace) -> int:
    if arguments.dir is not None:
        arguments.overrides.append(setting("cache.dir", arguments.dir))
    resolution = resolved(arguments)
    first = find_launch(os.environ).rank == 0
    if first:
        print_notices(resolution.config, arguments)
    from dit_run.assembly.fill_cache import fill
    from dit_run.cli.progress import ConsoleReporter
    from dit_run.reporting import Silent

    reporter = ConsoleReporter() if first and not arguments.quiet else Silent()
    try:
        filled = fill(resolution.config, resolution.registry, reporter)
    finally:
        reporter.end()
    for line in filled.lines if first else ():
        print(line)
    return filled.exit_status


def _info(root: Path, console: Console, arguments: argparse.Namespace) -> int:
    from dit_run.cache.maintenance import info

    parts = info(root)
    for part in parts:
        days = (time.time() - part.last_used) / 86400
        console.print(
            f"{part.kind} {part.folder.name}  {part.records} records  {size_text(part.size)}  used {days:.0f} days ago"
        )
        console.print("    " + ", ".join(f"{key} {str(value)[:16]}" for key, value in part.settings.items()))
    console.print(f"{root}: {len(parts)} parts, {size_text(sum(part.size for part in parts))}")
    return 0


def _verify(root: Path, console: Console, arguments: argparse.Namespace) -> int:
    from dit_run.cache.maintenance import verify

    verified = verify(root)
    for shard in verified.broken_shards:
        console.print(f"damaged: {shard}")
    console.print(f"{root}: {verified.records} records checked, {verified.damaged} damaged")
    if verified.damaged or verified.broken_shards:
        console.print("damaged records are rebuilt when a run needs them; `dit-run cache gc` removes them now")
        return 1
    return 0


def _gc(root: Path, console: Console, arguments: argparse.Namespace) -> int:
    from dit_run.cache.maintenance import sweep

    days = _UNUSED_DAYS if arguments.unused_days is None else arguments.unused_days
    if not 0 <= days < math.inf:
        raise InputError(f"--unused-days takes a number of at least 0, not {days:g}")
    try:
        limit = None if arguments.max_size is None else read_size(arguments.max_size)
    except ValueError as error:
        raise InputError(f"--max-size: {error}") from error
    swept = sweep(root, unused_days=days, max_bytes=limit)
    for part in swept.in_use:
        console.print(f"kept {part.kind} {part.folder.name}  {size_text(part.size)}, which a run is using")
    console.print(f"{root}: removed {swept.spaces} parts and {swept.records} records, {size_text(swept.freed)}")
    return 0
