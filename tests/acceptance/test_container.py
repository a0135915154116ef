"""A container: the embedded default trains, stops, continues and samples on a narrow, foreign machine."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import Run

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("container.sh")
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"
WORDS = (
    "training.num_workers=2", "training.output_dir=run", "training.max_steps=8", "training.save_steps=1000",
    "lr_scheduler.warmup=0", "validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]",
    "training.logging_steps=1", "training.batch_size=4", "data.size=2000",  # no home keeps the index of 100,000 samples
)  # fmt: skip
LIMIT = 2_000_000_000
"""Memory of all processes together (bytes)."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """The only folder that can be written; the test is skipped where no container can be made.

    It is not pytest's, whose folders no other user can enter.
    """
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs unshare and setpriv of util-linux")
    with tempfile.TemporaryDirectory(prefix="dit-run-container-") as name:
        path = Path(name)
        path.chmod(0o777)
        shutil.copy(CONFIG, path / "config.yaml")
        tried = inside(path, sys.executable, "-c", "import os; print(os.getuid())")
        made = subprocess.run(tried, capture_output=True, text=True, check=False)
        if made.stdout.strip() != "12345":
            pytest.skip(f"this machine permits no such container: {made.stderr.strip()}")
        yield path


def inside(folder: Path, *command: str) -> list[str]:
    return ["unshare", "--mount", "bash", str(SCRIPT), str(folder), sys.base_prefix, *command]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = inside(folder, sys.executable, "-m", "dit_run", *words)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """All that a command said, after it ended with status 0."""
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said


def memory(root: int) -> int:
    """Memory of a process and its descendants, shared pages counted once (bytes)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    total, left = 0, [root]
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(1024 * int(size) for size in re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE))
    return total


def test_the_machine_is_as_narrow_as_it_says(folder: Path) -> None:
    look = (
        "import json, os, pathlib, pwd, shutil\n"
        "def writable(path):\n"
        "    try:\n"
        "        pathlib.Path(path, 'new').touch()\n"
        "    except OSError:\n"
        "        return False\n"
        "    return True\n"
        "print(json.dumps({'shm': os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize,\n"
        "    'home': os.environ.get('HOME'), 'compiler': shutil.which('g++'), 'user': os.getuid(),\n"
        "    'known': os.getuid() in [each.pw_uid for each in pwd.getpwall()],\n"
        "    'writable': [path for path in ('/', '/tmp', '/var/tmp', os.getcwd()) if writable(path)]}))\n"
    )
    ended = subprocess.run(inside(folder, sys.executable, "-c", look), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found == {
        "shm": 64 << 20, "home": None, "compiler": None, "user": 12345, "known": False, "writable": [str(folder)],
    }  # fmt: skip


def test_the_embedded_default_trains_stops_continues_and_samples(folder: Path) -> None:
    process = start(folder, "config.yaml", *WORDS)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3/8"):
            break
    assert memory(process.pid) < LIMIT
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == 143, said
    assert time.monotonic() - asked < 10
    run = Run(folder / "run")
    assert run.status["state"] == "interrupted"
    assert "finished after 8 steps" in finished(start(folder, "config.yaml", *WORDS))
    assert [line["step"] for line in run.metrics] == list(range(1, 9))
    finished(start(folder, "sample", "run", "a red circle", "--steps", "2"))
    assert len(list((folder / "run" / "samples").glob("*.png"))) == 2


def test_batches_larger_than_the_shared_memory_are_loaded(folder: Path) -> None:
    large = ("data.image_size=128", "training.batch_size=96", "training.prefetch_factor=2", "training.max_steps=2")
    small = ("model.hidden_size=16", "model.num_layers=1", "model.num_heads=1", "model.patch_size=32")
    said = finished(start(folder, "config.yaml", *WORDS, *large, *small))
    assert "finished after 2 steps" in said


def test_a_config_that_compiles_is_refused_at_once(folder: Path) -> None:
    process = start(folder, "config.yaml", *WORDS, "training.compile_model=true", "training.device=cpu")
    said = process.communicate()[0]
    assert process.returncode == 2
    assert said.startswith("error[no-compiler]: training.compile_model needs a compiler, and this machine has no C++")
    assert not (folder / "run").exists()
