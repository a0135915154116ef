"""JSON files: the object in a file, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.problems import InputError
from dit_run.system.json_files import read_object


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_object(path)
    return str(caught.value)


def test_a_json_object(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"width": 8}')
    assert read_object(path) == {"width": 8}


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert refused(path) == f"{path} cannot be read: [Errno 2] No such file or directory: '{path}'"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[" * 100_000])
def test_a_file_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert refused(path).startswith(f"{path} cannot be read: ")


def test_json_that_is_not_an_object(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[1]")
    assert refused(path) == f"{path} should hold a JSON object, not list"
