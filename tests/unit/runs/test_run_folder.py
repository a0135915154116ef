"""The run folder: one owner, whole files, metrics that never lie about the step a run continues at."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dit_run.problems import InputError
from dit_run.registry.plugin_files import PluginFile
from dit_run.runs.run_folder import RunFolder
from dit_run.system.durable import make_folder, write_atomic

HOLD = """
import sys, os
from pathlib import Path
from dit_run.runs.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def test_a_second_owner_is_refused_and_told_who_has_it(folder: RunFolder) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"run is in use by process {owner.pid} on \S+ since 20") as caught:
            folder.lock().__enter__()
        assert "choose another training.output_dir" in str(caught.value)
        owner.kill()
    with folder.lock():
        pass


def test_a_lock_ends_with_its_block(folder: RunFolder) -> None:
    for _ in range(2):
        with folder.lock():
            pass


def test_a_forked_helper_does_not_keep_the_lock(folder: RunFolder) -> None:
    reading, writing = os.pipe()
    with folder.lock():
        helper = os.fork()
        if helper == 0:
            os.write(writing, b"x")
            signal.pause()
        os.read(reading, 1)
    try:
        with folder.lock():
            pass
    finally:
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)


def test_locking_makes_the_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "b").lock():
        assert (tmp_path / "a" / "b").is_dir()


def test_the_id_stays_once_provenance_is_written(folder: RunFolder) -> None:
    run_id = folder.run_id()
    assert len(run_id) == 32 and folder.run_id() != run_id
    folder.write_provenance({"arguments": ["a"]}, run_id=run_id)
    assert folder.run_id() == run_id


def test_each_later_start_is_added_to_the_provenance(folder: RunFolder) -> None:
    for argument in "abc":
        folder.write_provenance({"arguments": [argument]}, run_id="id")
    assert json.loads(folder.provenance.read_bytes()) == {
        "run_id": "id",
        "arguments": ["a"],
        "continued": [{"arguments": ["b"]}, {"arguments": ["c"]}],
    }


@pytest.mark.parametrize("text", ["", "[]", "{", '{"run_id": 3}', "[" * 100_000])
def test_damaged_provenance_is_refused(folder: RunFolder, text: str) -> None:
    folder.provenance.write_text(text)
    with pytest.raises(InputError, match=r"provenance\.json"):
        folder.run_id()


def test_status_says_how_a_run_stands(folder: RunFolder) -> None:
    assert folder.read_status() is None
    folder.write_status("interrupted", step=7, reason="SIGTERM")
    status = folder.read_status()
    assert status is not None
    assert (status["state"], status["step"], status["reason"], status["pid"]) == (
        "interrupted", 7, "SIGTERM", os.getpid(),
    )  # fmt: skip


def test_a_plugin_file_is_kept_as_it_was_loaded(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    loaded = PluginFile.read(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text("edited since\n")
    copy = folder.keep_plugin(loaded)
    assert copy == folder.plugins / "mine.py" and copy.read_text() == "x = 1\n"
    assert folder.keep_plugin(loaded) == copy


def test_another_plugin_of_the_same_name_is_kept_beside(folder: RunFolder, tmp_path: Path) -> None:
    for text in ("x = 1\n", "x = 2\n"):
        (tmp_path / "mine.py").write_text(text)
        copy = folder.keep_plugin(PluginFile.read(tmp_path / "mine.py"))
    digest = hashlib.sha256(b"x = 2\n").hexdigest()
    assert copy.name == f"mine_{digest[:12]}.py" and copy.read_text() == "x = 2\n"
    assert (folder.plugins / "mine.py").read_text() == "x = 1\n"


def test_writing_atomically_leaves_the_file_alone_with_its_new_bytes(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        write_atomic(tmp_path / "file", data)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"two")]


def test_writing_atomically_into_nothing_fails_cleanly(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_there_is_fine(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
