"""A cache on a disk that is full or read-only: real ones, in a mount namespace of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from dit_run.cli.main import main

pytestmark = pytest.mark.slow


class Answer(NamedTuple):
    """Exit status, output and errors of a command."""

    status: int
    out: str
    err: str


OnDisks = Callable[[Sequence[tuple[str, Sequence[str]]]], list[Answer]]

EACH_ON_A_DISK = """
import contextlib, io, json, subprocess, sys
from dit_run.cli.main import main

cache, copy, cases = json.loads(sys.argv[1])
answers = []
for prepare, words in cases:
    fill = f"mount -t tmpfs disk {cache}; cp -r {copy}/. {cache}; cd {cache}; {prepare}"
    subprocess.run(["sh", "-ec", fill], check=True)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    answers.append((status, out.getvalue(), err.getvalue()))
    subprocess.run(["umount", "-l", cache], check=True)
print(json.dumps(answers))
"""


def _in_own_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["unshare", "-rm", *command], capture_output=True, text=True)


@pytest.fixture
def on_disks(config: Path, tmp_path: Path) -> OnDisks:
    """Runs commands with the config, each with the warm cache on a disk of its own that a script prepares."""
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    try:
        usable = _in_own_namespace("mount", "-t", "tmpfs", "disk", str(tmp_path)).returncode == 0
    except FileNotFoundError:
        usable = False
    if not usable:
        pytest.skip("this system mounts no disk for a user")
    assert main(["cache", str(config)]) == 0
    cache.rename(copy)
    cache.mkdir()

    def run(cases: Sequence[tuple[str, Sequence[str]]]) -> list[Answer]:
        lines = [
            (prepare, [words[0], str(config), f"training.output_dir={tmp_path}/run{number}", *words[1:]])
            for number, (prepare, words) in enumerate(cases)
        ]
        done = _in_own_namespace(sys.executable, "-c", EACH_ON_A_DISK, json.dumps([str(cache), str(copy), lines]))
        assert done.returncode == 0, done.stderr
        return [Answer(*each) for each in json.loads(done.stdout.splitlines()[-1])]

    return run


READ_ONLY = "mount -o remount,ro ."
FULL = "mount -o remount,size=1M .; dd if=/dev/zero of=large bs=4k 2>/dev/null || true"
NO_FILES = "mount -o remount,nr_inodes=$(find . | wc -l) ."


def test_a_warm_cache_is_read_where_nothing_can_be_written(on_disks: OnDisks) -> None:
    cases = [(READ_ONLY, ["cache"]), (READ_ONLY, ["train"]), (FULL, ["train"]), (NO_FILES, ["train"])]
    for case, answer in zip(cases, on_disks(cases), strict=True):
        assert (answer.status, "encoding" in answer.out) == (0, False), (case, answer.err)


NEW_PICTURES, NEW_CAPTION = "data.image_size=32", "sampling.prompts=[another]"


def test_what_is_missing_and_cannot_be_written_is_refused(on_disks: OnDisks, tmp_path: Path) -> None:
    refused = [
        (READ_ONLY, NEW_PICTURES, "the cache cannot be written: {cache}/latents/"),
        (READ_ONLY, NEW_CAPTION, "the cache is incomplete and cannot be written: {cache}/captions/"),
        (FULL, NEW_PICTURES, "No space left on device; free some space, or set cache.dir to another folder"),
        (FULL, NEW_CAPTION, " kB more and {cache} has 0 kB free; set cache.dir"),
        (NO_FILES, NEW_CAPTION, "No space left on device; free some space, or set cache.dir to another folder"),
    ]
    answers = on_disks([(prepare, ["train", change, "sampling.every_n_steps=2"]) for prepare, change, _ in refused])
    for case, answer in zip(refused, answers, strict=True):
        assert case[2].format(cache=tmp_path / "cache") in answer.err and answer.status in (1, 2), case
        assert "Traceback" not in answer.err and str(tmp_path / "run") not in answer.err, case
