"""The worst documents that the limits let through: answered within a second and 512 MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORST = {
    "unknown keys": "training:\n" + "".join(f"  batch_siz{n}: 1\n" for n in range(9_900)),
    "unknown sections": "".join(f"optimiser{n}: 1\n" for n in range(9_900)),
    "duplicate keys": "training: {" + "seed: 1," * 9_900 + "}",
    "wrong items": "sampling: {prompts: [" + "1," * 19_900 + "]}",
    "many trackers": "trackers: [" + "{type: x}," * 4_900 + "]",
    "a long string": "training: {output_dir: " + "x" * 250_000 + "}",
    "a long key": "training: {" + "x" * 250_000 + ": 1}",
    "references": "training: {output_dir: '" + "".join(f"${{env:UNSET{n}}}" for n in range(14_000)) + "'}",
    "one long line": "training: {" + "a" * 1000 + "}" + " " * 200_000 + "#",
    "many lines": "\n" * 250_000 + "training: {seed: x}",
    "brackets": "[" * 200_000,
    "questions": "? " * 100_000,
    "dashes": "- " * 100_000,
    "anchors": "\n".join(f"a{n}: &a{n} 1" for n in range(9_000)),
    "long number": "training: {seed: " + "9" * 250_000 + "}",
    "float digits": "training: {learning_rate: 0." + "9" * 250_000 + "}",
    "quotes": "training: {output_dir: '" + "''" * 120_000 + "'}",
    "escapes": 'training: {output_dir: "' + "\\x41" * 60_000 + '"}',
}

CHILD = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
from dit_run import load_config
from dit_run.cli.problem_rendering import as_text
from dit_run.problems import ConfigError
from dit_run.registry.registry import discover
registry = discover(third_party=False)
began = time.process_time()
try:
    load_config(sys.argv[1], registry=registry)
    print(0, time.process_time() - began)
except ConfigError as error:
    for problem in error.problems: as_text(problem)
    print(len(error.problems), time.process_time() - began)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WORST))
def test_worst_documents(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(WORST[name])
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    _, seconds = done.stdout.split()
    assert float(seconds) < 10, done.stdout  # what grows with the square of the length takes minutes
