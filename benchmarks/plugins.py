"""Cost of installed plugins that a config does not use: `dit-run plugins` and `validate` with 0 and with 50 of them.

Measured is the processor time of whole processes, in turns. Bar: the listing takes at most 1.5 times as long with 50
plugins as without. Run it alone: ``python benchmarks/plugins.py``; it takes one minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measuring import Bar, Report, Table, children, finish, in_turn, medians, parser, ratio

PLUGINS = 50
PATHS = os.environ.get("PYTHONPATH", "")

PLUGIN = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveFloat, Probability

@dataclass(frozen=True, kw_only=True)
class Options:
    """An optimizer."""

    beta: Probability = 0.9
    """Decay of the momentum."""
    weight_decay: PositiveFloat = 0.1
    """Weight decay."""

@hookimpl
def dit_run_components():
    return [Component(Kind.OPTIMIZER, "{name}", Options, "{name}.optimizer:build")]
'''
FACTORY = """
import torch

def build(options, *, named_parameters, learning_rate):
    return torch.optim.SGD([p for _, p in named_parameters], lr=learning_rate, momentum=options.beta)
"""


def install(folder: Path) -> None:
    """Write the plugins to a folder as an installer does."""
    for index in range(PLUGINS):
        name = f"plugin_{index}"
        package, info = folder / name, folder / f"dit_run_{name}-1.0.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(PLUGIN.replace("{name}", name))
        (package / "optimizer.py").write_text(FACTORY)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dit-run-plugin-{index}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dit_run]\n{name} = {name}.plugin\n")


def run(command: list[str], path: Path | None) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(path or ""), PATHS]))}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15, help="runs of each command, in turn")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        site, config = Path(name) / "site", Path(name) / "config.yaml"
        site.mkdir()
        install(site)
        config.write_text("training: {batch_size: 8}\n")
        own = [sys.executable, "-m", "dit_run"]
        commands = {"plugins": [*own, "plugins"], "validate": [*own, "validate", str(config)]}
        contestants = {
            (title, path): partial(run, command, path) for title, command in commands.items() for path in (None, site)
        }
        taken = in_turn(contestants, arguments.rounds, clock=children)
        times = medians(taken)
        ratios = {title: ratio(taken[title, site], taken[title, None]) for title in commands}
        rows = [
            [title, f"{1e3 * times[title, None]:.0f} ms", f"{1e3 * times[title, site]:.0f} ms", f"{ratios[title]:.2f}"]
            for title in commands
        ]
    table = Table(["command", "built-in plugins only", f"with {PLUGINS} packages", "ratio"], rows)
    bar = Bar(f"time of `dit-run plugins` with {PLUGINS} plugins ÷ without", ratios["plugins"], 1.5, at_most=True)
    return finish(Report("Installed plugins", [table], [bar]), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
