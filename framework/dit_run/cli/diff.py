"""``dit-run diff A B``: how two configs or runs differ by meaning, defaults included."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from dit_run.cli.common_options import add_plugin_flags, installed, read_config
from dit_run.cli.problem_rendering import print_problems
from dit_run.config.comparison import Difference, absolute, differences, operational_keys
from dit_run.config.keys import key_name
from dit_run.settings import Config

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="a config file or a run folder")
    parser.add_argument("after", metavar="B", help="a config file or a run folder")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 where they differ")
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    registry = installed(arguments)
    before, after = (
        read_config(_config_file(path), (), arguments, registry).config for path in (arguments.before, arguments.after)
    )
    print_problems([*before.notices, *after.notices])
    found = differences(_meaning(before), _meaning(after))
    operational = operational_keys(before) | operational_keys(after)
    print("\n".join(_line(difference, difference.path in operational) for difference in found) or "no difference")
    return 1 if found and arguments.exit_code else 0


def _config_file(path: str) -> str:
    return str(Path(path) / "config.yaml") if Path(path).is_dir() else path


def _meaning(config: Config) -> dict[str, Any]:
    values = absolute(config).to_dict()
    del values["data"]["dataset_name"]
    values["plugins"] = [
        f"{Path(file).name} (sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]})"
        for file in config.plugins
    ]
    return values


def _line(difference: Difference, operational: bool) -> str:
    note = "  (may change when a run continues)" if operational else ""
    return f"{key_name(difference.path)}: {_shown(difference.before)} -> {_shown(difference.after)}{note}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list | dict | None) else str(value)
