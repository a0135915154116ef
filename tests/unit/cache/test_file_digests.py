from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from dit_run.cache.file_digests import FileDigests

LONG_AGO = 1_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that was left alone for long, as its mtime says."""
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def digest(database: Path, path: Path) -> bytes:
    with FileDigests(database) as files:
        (found,) = files.digests([path])
    assert not isinstance(found, OSError)
    return found[1]


def believe(database: Path, path: Path) -> None:
    """Make the database hold another digest for the file as it is now."""
    stat = path.stat()
    with sqlite3.connect(database) as connection:
        row = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, b"x" * 32)
        connection.execute("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", row)
    connection.close()


def test_it_is_the_sha256_of_the_content(tmp_path: Path, file: Path) -> None:
    assert digest(tmp_path / "db", file) == hashlib.sha256(b"first").digest()


def test_a_file_that_looks_the_same_is_not_read_again(tmp_path: Path, file: Path) -> None:
    digest(tmp_path / "db", file)
    believe(tmp_path / "db", file)
    assert digest(tmp_path / "db", file) == b"x" * 32


def test_other_content_of_the_same_size_and_mtime_is_noticed(tmp_path: Path, file: Path) -> None:
    digest(tmp_path / "db", file)
    believe(tmp_path / "db", file)
    file.write_bytes(b"other")
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert digest(tmp_path / "db", file) == hashlib.sha256(b"other").digest()


def test_a_file_put_in_the_place_of_another_is_noticed(tmp_path: Path, file: Path) -> None:
    digest(tmp_path / "db", file)
    believe(tmp_path / "db", file)
    other = tmp_path / "b.png"
    other.write_bytes(b"other")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(file)
    assert digest(tmp_path / "db", file) == hashlib.sha256(b"other").digest()


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"fresh")
    digest(tmp_path / "db", file)
    with sqlite3.connect(tmp_path / "db") as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (0,)
    connection.close()


def test_a_broken_database_costs_nothing_but_time(tmp_path: Path, file: Path) -> None:
    (tmp_path / "db").write_bytes(b"this is no database" * 100)
    assert digest(tmp_path / "db", file) == hashlib.sha256(b"first").digest()


def test_what_is_missing_or_no_regular_file_is_an_error_in_its_place(tmp_path: Path, file: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with FileDigests(tmp_path / "db") as files:
        found = list(files.digests([tmp_path / "gone", file, tmp_path / "pipe"]))
    assert isinstance(found[0], FileNotFoundError)
    assert not isinstance(found[1], OSError)
    assert "not a regular file" in str(found[2])
