"""``dit-run diff A B``: the keys in which two configs or runs differ, defaults included."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from dit_run.cli.common_options import add_plugin_flags, installed, print_notices, read_config
from dit_run.cli.problem_rendering import value_text
from dit_run.config.comparison import Difference, absolute, changing_keys, differences
from dit_run.config.keys import key_name
from dit_run.settings import Config

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="config file or run folder")
    parser.add_argument("after", metavar="B", help="config file or run folder")
    parser.add_argument("--exit-code", action="store_true", help="exit with status 1 if they differ")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    registry = installed(arguments)
    configs = [
        read_config(_config_file(path), (), arguments, registry).config for path in (arguments.before, arguments.after)
    ]
    for config in configs:
        print_notices(config, arguments)
    before, after = configs
    found = differences(_values(before), _values(after))
    changing = changing_keys(before) | changing_keys(after)
    print("\n".join(_line(difference, difference.path in changing) for difference in found) or "no difference")
    return 1 if found and arguments.exit_code else 0


def _config_file(path: str) -> str:
    return str(Path(path) / "config.yaml") if Path(path).is_dir() else path


def _values(config: Config) -> dict[str, Any]:
    """Return all values, with absolute paths and the digests of the plugin files."""
    values = absolute(config).to_dict()
    del values["data"]["dataset_name"]
    values["plugins"] = [
        f"{Path(file).name} (sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]})"
        for file in config.plugins
    ]
    return values


def _line(difference: Difference, may_change: bool) -> str:
    note = "  (may change when a run continues)" if may_change else ""
    return f"{key_name(difference.path)}: {value_text(difference.before)} -> {value_text(difference.after)}{note}"
