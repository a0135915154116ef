"""What installed plugins cost those who do not use them: `dit-run plugins` and `validate` with none and with 50.

    python benchmarks/plugins.py

Prints the least processor time of several runs in turn, and how often as much it is with the plugins as without. The
listing may cost at most 1.5 times as much.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGINS, ROUNDS, BOUND = 50, 15, 1.5

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
    """Lay the plugins into a folder as an installer would."""
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


def seconds(command: list[str], path: Path | None) -> float:
    """Processor time of one process."""
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site, config = folder / "site", folder / "config.yaml"
        site.mkdir()
        install(site)
        config.write_text("training: {batch_size: 8}\n")
        run = [sys.executable, "-m", "dit_run"]
        commands = {"plugins": [*run, "plugins"], "validate": [*run, "validate", str(config)]}
        print(f"{'command':<10} {'built in':>10} {f'and {PLUGINS}':>10} {'ratio':>7}")
        ratios = {}
        for title, command in commands.items():
            times = [(seconds(command, None), seconds(command, site)) for _ in range(ROUNDS + 1)][1:]
            alone, all_ = (min(column) for column in zip(*times, strict=True))
            ratios[title] = all_ / alone
            print(f"{title:<10} {1000 * alone:>7.0f} ms {1000 * all_:>7.0f} ms {ratios[title]:>7.2f}")
    return 0 if ratios["plugins"] <= BOUND else 1


if __name__ == "__main__":
    raise SystemExit(main())
