"""What starting the program imports, as Python itself reports it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "diffusers", "numpy", "PIL"}
ROOT = Path(__file__).resolve().parent.parent.parent


def imported(words: Sequence[str]) -> set[str]:
    """Top-level names of all modules that a command line of Python imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "import dit_run"),
        ("-m", "dit_run", "--help"),
        ("-m", "dit_run", "--version"),
        ("-m", "dit_run", "train", "--help"),
        ("-m", "dit_run", "sample", "--help"),
        ("-m", "dit_run", "plugins"),
        ("-m", "dit_run", "validate", str(ROOT / "configs" / "quickstart.yaml")),
    ],
    ids=lambda words: " ".join(words[1:3]),
)
def test_nothing_heavy(words: Sequence[str]) -> None:
    modules = imported(words)
    assert "dit_run" in modules
    assert not modules & HEAVY


def test_the_command_and_the_module_are_the_same() -> None:
    script = Path(sys.executable).with_name("dit-run")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    said = [
        subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=os.environ).stdout
        for words in ([script, "--help"], [sys.executable, "-m", "dit_run", "--help"])
    ]
    assert said[0] == said[1]
    assert said[0].startswith("usage: dit-run CONFIG [key=value ...]")
