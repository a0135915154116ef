"""How long `dit-run validate` takes, beside a process that only imports what it cannot do without.

Run it alone: ``python benchmarks/validate.py``. Whole processes, in turn; medians. Bytecode is cached, as after an
installation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BAR = 1.6
BASELINE = """
import yaml, jsonschema, pluggy
from importlib.metadata import entry_points
list(entry_points(group="dit_run"))
"""
COMMANDS = {
    "import yaml, jsonschema, pluggy; list entry points": [sys.executable, "-c", BASELINE],
    "dit-run validate configs/train_config.yaml": [
        sys.executable, "-m", "dit_run", "validate", str(ROOT / "configs" / "train_config.yaml"),
    ],
}  # fmt: skip


def main() -> int:
    """Print the table; exit status 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=41, help="runs of each, in turn")
    runs = parser.parse_args().runs
    print(f"about {runs * 0.35:.0f} seconds")
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(-2, runs):
        for name, command in COMMANDS.items():
            seconds = _seconds(command, environment)
            if number >= 0:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{1000 * median:7.1f} ms  {name}")
    ratio = statistics.median(a / b for b, a in zip(*times.values(), strict=True))
    print(f"{ratio:7.2f}     ratio (median of pairs; bar {BAR})")
    return 0 if ratio <= BAR else 1


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
