"""``dit-run cache``: build, verify, inspect or clean the cache."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.cli.common_options import add_plugin_flags, installed, read_config, setting
from dit_run.cli.problem_rendering import print_problems
from dit_run.problems import InputError
from dit_run.system.units import read_size, size_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["configure", "run"]

_UPKEEP = ("info", "verify", "gc")
_UNUSED_DAYS = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "dit-run cache CONFIG [key=value ...]\n       dit-run cache info|verify|gc [--dir DIR] ..."
    parser.add_argument(
        "what", nargs="?", metavar="CONFIG|info|verify|gc", help="build a config's cache, or look after all of it"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values on top of the config's")
    parser.add_argument("--dir", metavar="DIR", help="the cache's folder (info, verify, gc; else cache.dir)")
    parser.add_argument(
        "--unused-days",
        type=float,
        metavar="N",
        help=f"gc: remove parts not used for so long (default: {_UNUSED_DAYS:g})",
    )
    parser.add_argument(
        "--max-size", metavar="SIZE", help="gc: remove the longest unused parts until so much is left: 50GB"
    )
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.what is None:
        raise InputError("dit-run cache needs a config, or one of info, verify and gc (dit-run cache --help)")
    if arguments.what != "gc" and (arguments.unused_days is not None or arguments.max_size is not None):
        raise InputError("--unused-days and --max-size say what dit-run cache gc removes; nothing else takes them")
    if arguments.what not in _UPKEEP:
        return _build(arguments)
    if arguments.overrides:
        raise InputError(f"dit-run cache {arguments.what} takes no {arguments.overrides[0]!r}; say --dir DIR")
    from rich.console import Console

    from dit_run.digests import cache_home

    root = cache_home() if arguments.dir is None else Path(arguments.dir).expanduser()
    if arguments.dir == "":
        raise InputError("--dir is empty; name the cache's folder")
    if arguments.dir is not None and not root.is_dir():
        raise InputError(f"--dir {root}: {'a file, and no folder' if root.exists() else 'there is no such folder'}")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    return {"info": _info, "verify": _verify, "gc": _gc}[arguments.what](root, console, arguments)


def _build(arguments: argparse.Namespace) -> int:
    if arguments.dir is not None:
        arguments.overrides.append(setting("cache.dir", arguments.dir))
    resolution = read_config(arguments.what, arguments.overrides, arguments, installed(arguments))
    print_problems(resolution.config.notices)
    from dit_run.assembly.fill_cache import fill
    from dit_run.cli.progress import ConsoleReporter

    reporter = ConsoleReporter()
    try:
        filled = fill(resolution.config, resolution.registry, reporter)
    finally:
        reporter.end()
    for line in filled.lines:
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
        console.print(f"broken: {shard}")
    console.print(f"{root}: {verified.records} records checked, {verified.damaged} damaged")
    if verified.damaged or verified.broken_shards:
        console.print("what is damaged is made anew when it is next wanted; `dit-run cache gc` removes it now")
        return 1
    return 0


def _gc(root: Path, console: Console, arguments: argparse.Namespace) -> int:
    from dit_run.cache.maintenance import sweep

    days = _UNUSED_DAYS if arguments.unused_days is None else arguments.unused_days
    if not 0 <= days < math.inf:
        raise InputError(f"--unused-days is a number of days from 0 up, not {days:g}")
    try:
        limit = None if arguments.max_size is None else read_size(arguments.max_size)
    except ValueError as error:
        raise InputError(f"--max-size: {error}") from error
    swept = sweep(root, unused_days=days, max_bytes=limit)
    for part in swept.in_use:
        console.print(f"{part.kind} {part.folder.name}  {size_text(part.size)} are in use, and left as they are")
    console.print(f"{root}: removed {swept.spaces} parts and {swept.records} records, {size_text(swept.freed)}")
    return 0
