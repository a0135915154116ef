"""Time of `dit-run validate`, compared with the imports that it avoids and with those that it needs.

Measured is the processor time of whole processes, in turns. Bytecode is cached, as after an installation. Bars: at
least 25 times faster than importing torch and the models that a trainer needs from diffusers and transformers (both
packages import their parts on demand; the last row is without any part); at most 1.6 times the import of YAML,
jsonschema and pluggy and the listing of entry points. Run it alone: ``python benchmarks/validate.py``; it takes a
minute and a half.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from measuring import Bar, Report, Table, children, finish, in_turn, medians, parser, ratio

ROOT = Path(__file__).resolve().parent.parent
NEEDED = """
import yaml, jsonschema, pluggy
from importlib.metadata import entry_points
list(entry_points(group="dit_run"))
"""
AVOIDED = """
import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer
"""
COMMANDS = {
    "dit-run validate configs/train_config.yaml": [
        sys.executable, "-m", "dit_run", "validate", str(ROOT / "configs" / "train_config.yaml"),
    ],
    "import yaml, jsonschema, pluggy; list entry points": [sys.executable, "-c", NEEDED],
    "import torch, and the models of a run from diffusers and transformers": [sys.executable, "-c", AVOIDED],
    "import torch, diffusers, transformers": [sys.executable, "-c", "import torch, diffusers, transformers"],
}  # fmt: skip


def main() -> int:
    """Print the table; return 1 if a bar is missed."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="runs of each command, in turn")
    arguments = options.parse_args()
    contestants = {name: partial(_run, command) for name, command in COMMANDS.items()}
    taken = in_turn(contestants, arguments.rounds, clock=children)
    ours, needed, avoided, _ = taken.values()
    rows = [[name, f"{1000 * median:.0f} ms"] for name, median in medians(taken).items()]
    bars = [
        Bar("time to import torch and the models of a run ÷ time of validate", ratio(avoided, ours), 25),
        Bar("time of validate ÷ time to import what it needs", ratio(ours, needed), 1.6, at_most=True),
    ]
    return finish(Report("Validating a config", [Table(["process", "processor time"], rows)], bars), arguments)


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)


if __name__ == "__main__":
    raise SystemExit(main())
