"""Kept columns: built once, counted as used, and removed when nothing used them for long."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dit_run.data.column_files import Columns
from dit_run.data.kept_columns import kept, known, remove_unused
from dit_run.system import file_locks


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, in which nothing is in use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dit-run"


def build() -> Columns:
    return Columns({"numbers": np.arange(3)})


def age(home: Path, days: float) -> None:
    """Let all files of the indexes be as old as this."""
    for file in (home / "indexes").iterdir():
        os.utime(file, (time.time() - days * 86400,) * 2)


KEEP = "import sys; from dit_run.data.kept_columns import kept; from dit_run.data.column_files import Columns; "
KEEP += "import numpy; kept([sys.argv[1]], lambda: Columns({'numbers': numpy.arange(3)})); "


def in_another_process(name: str, end: str = "") -> None:
    subprocess.run([sys.executable, "-c", KEEP + end, name], check=True)


def test_unused_columns_are_removed_with_their_locks_and_remains(home: Path) -> None:
    for name in ("old", "used"):
        in_another_process(name)
    (home / "indexes" / ".x.index.1.partial").write_bytes(b"1234")
    age(home, 40)
    in_another_process("used")
    (old,) = (file for file in (home / "indexes").glob("*.index") if time.time() - file.stat().st_atime > 86400)
    size = old.stat().st_size
    assert remove_unused(home, time.time() - 30 * 86400) == size + 4
    assert not old.exists() and not old.with_suffix(".lock").exists()
    assert len(list((home / "indexes").glob("*.index"))) == 1
    assert known(["used"]) is not None and known(["old"]) is None


def test_nothing_is_removed_while_a_process_uses_some(home: Path) -> None:
    kept(["here"], build)
    age(home, 40)
    assert remove_unused(home, time.time()) == 0
    assert known(["here"]) is not None


def test_a_cache_without_indexes_has_nothing_to_remove(tmp_path: Path) -> None:
    assert remove_unused(tmp_path, time.time()) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_shared_lock_is_held_by_several_and_needs_no_file_that_can_be_written(tmp_path: Path) -> None:
    file_locks.share(tmp_path / "lock")
    file_locks.share(tmp_path / "lock")
    file_locks.share(tmp_path / "missing" / "lock")
    assert file_locks.is_locked(tmp_path / "lock")
