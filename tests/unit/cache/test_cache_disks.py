"""A cache on a disk that is full or read-only: real ones, in a mount namespace of their own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_run.cli.main import main

On = Callable[..., subprocess.CompletedProcess[str]]


def _in_own_namespace(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["unshare", "-rm", "sh", "-ec", script], capture_output=True, text=True)


@pytest.fixture
def on_disk(config: Path, tmp_path: Path) -> On:
    """Runs ``dit-run`` with the config, its cache on a disk of its own that a script prepares."""
    cache = tmp_path / "cache"
    cache.mkdir()
    disk = f"mount -t tmpfs disk {cache}"
    try:
        usable = _in_own_namespace(disk).returncode == 0
    except FileNotFoundError:
        usable = False
    if not usable:
        pytest.skip("this system mounts no disk for a user")

    def run(prepare: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = shlex.join([sys.executable, "-m", "dit_run", words[0], str(config), *words[1:]])
        return _in_own_namespace(
            f"cp -r {cache} {tmp_path}/copy; {disk}; cp -r {tmp_path}/copy/. {cache}; "
            f"cd {cache}; {prepare}; cd /; exec {command}"
        )

    return run


READ_ONLY = "mount -o remount,ro ."
FULL = "mount -o remount,size=1M .; dd if=/dev/zero of=large bs=4k 2>/dev/null || true"
NO_FILES = "mount -o remount,nr_inodes=$(find . | wc -l) ."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "command"), [(READ_ONLY, "cache"), (READ_ONLY, "train"), (FULL, "train"), (NO_FILES, "train")]
)
def test_a_warm_cache_is_read_where_nothing_can_be_written(
    config: Path, on_disk: On, prepare: str, command: str
) -> None:
    assert main(["cache", str(config)]) == 0
    answer = on_disk(prepare, command)
    assert (answer.returncode, "encoding" in answer.stdout) == (0, False), answer.stderr


NEW_PICTURES, NEW_CAPTION = "data.image_size=32", "sampling.prompts=[another]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "change", "said"),
    [
        (READ_ONLY, NEW_PICTURES, "the cache cannot be written: {cache}/latents/"),
        (READ_ONLY, NEW_CAPTION, "the cache is incomplete and cannot be written: {cache}/captions/"),
        (FULL, NEW_PICTURES, "No space left on device; free some space, or set cache.dir to another folder"),
        (FULL, NEW_CAPTION, " kB more and {cache} has 0 kB free; set cache.dir"),
        (NO_FILES, NEW_CAPTION, "No space left on device; free some space, or set cache.dir to another folder"),
    ],
)
def test_what_is_missing_and_cannot_be_written_is_refused(
    config: Path, tmp_path: Path, on_disk: On, prepare: str, change: str, said: str
) -> None:
    assert main(["cache", str(config)]) == 0
    answer = on_disk(prepare, "train", change, "sampling.every_n_steps=2")
    assert said.format(cache=tmp_path / "cache") in answer.stderr and answer.returncode in (1, 2)
    assert "Traceback" not in answer.stderr and str(tmp_path / "run") not in answer.stderr
