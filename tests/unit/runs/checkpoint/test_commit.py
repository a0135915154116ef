"""The commit protocol: whole or absent, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dit_run.problems import InputError
from dit_run.runs.checkpoint.commit import MANIFEST, Damage, SaveFailed, clean, commit, find_damage, remove


def write_two(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"alpha")
    (folder / "b.bin").write_bytes(b"beta")


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    folder = tmp_path / "parent" / "step"
    commit(folder, write_two)
    return folder


def test_a_committed_folder_is_whole_and_alone(committed: Path) -> None:
    assert find_damage(committed) == []
    assert sorted(path.name for path in committed.iterdir()) == [MANIFEST, "a.bin", "b.bin"]
    assert [path.name for path in committed.parent.iterdir()] == ["step"]


def test_the_manifest_lists_sizes_and_checksums(committed: Path) -> None:
    entries = json.loads((committed / MANIFEST).read_bytes())["files"]
    assert {name: entry["size"] for name, entry in entries.items()} == {"a.bin": 5, "b.bin": 4}
    assert entries["a.bin"]["sha256"] == "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"


def test_every_flipped_byte_is_noticed(committed: Path) -> None:
    for path in committed.iterdir():
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            assert [damage.file for damage in find_damage(committed)] == [path.name], (path.name, place)
        path.write_bytes(whole)


def test_every_truncation_is_noticed(committed: Path) -> None:
    for path in committed.iterdir():
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert [damage.file for damage in find_damage(committed)] == [path.name], (path.name, length)
        path.write_bytes(whole)


def test_a_missing_file_is_named(committed: Path) -> None:
    (committed / "b.bin").unlink()
    assert find_damage(committed) == [Damage("b.bin", "is missing")]


def test_a_file_that_nobody_wrote_is_named(committed: Path) -> None:
    (committed / "ema.safetensors").write_bytes(b"planted")
    assert find_damage(committed) == [Damage("ema.safetensors", "is not in the manifest")]


def test_a_desktop_s_hidden_file_does_no_harm(committed: Path) -> None:
    (committed / ".DS_Store").write_bytes(b"icons")
    assert find_damage(committed) == []


def test_a_folder_without_manifest_is_damaged(tmp_path: Path) -> None:
    assert find_damage(tmp_path) == [Damage(MANIFEST, "is missing")]


def test_a_folder_in_the_place_of_a_file_is_named(committed: Path) -> None:
    (committed / "a.bin").unlink()
    (committed / "a.bin").mkdir()
    assert find_damage(committed) == [Damage("a.bin", "is not a regular file")]


def test_a_manifest_that_points_outside_is_refused(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dit_run.runs.checkpoint import commit as module

    entry = json.loads((committed / MANIFEST).read_bytes())["files"]["a.bin"]
    (committed / MANIFEST).write_bytes(module._manifest_bytes({"../step/a.bin": entry}))
    assert find_damage(committed) == [Damage(MANIFEST, "does not match its own digest")]


def test_the_same_manifest_spelt_otherwise_is_refused(committed: Path) -> None:
    content = json.loads((committed / MANIFEST).read_bytes())
    (committed / MANIFEST).write_text(json.dumps(content, sort_keys=True))
    assert find_damage(committed) == [Damage(MANIFEST, "does not match its own digest")]


def test_a_folder_of_a_later_format_is_refused_with_what_to_do(committed: Path) -> None:
    content = {"files": json.loads((committed / MANIFEST).read_bytes())["files"], "format": 3}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    later = json.dumps({**content, "digest": digest}, sort_keys=True, indent=1) + "\n"
    (committed / MANIFEST).write_text(later)
    with pytest.raises(InputError, match=r"has format 3, and this .* reads formats up to 2: install the version"):
        find_damage(committed)
    (committed / MANIFEST).write_text(later.replace('"format": 3', '"format": 4'))
    assert find_damage(committed) == [Damage(MANIFEST, "does not match its own digest")]


def test_a_manifest_of_endless_brackets_is_refused(committed: Path) -> None:
    (committed / MANIFEST).write_bytes(b"[" * 200_000)
    assert find_damage(committed) == [Damage(MANIFEST, "does not match its own digest")]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_two(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(SaveFailed, match="step could not be written: No space left on device"):
        commit(tmp_path / "step", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_two(folder)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commit(tmp_path / "step", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_folder_that_was_there(committed: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(SaveFailed):
        commit(committed, fail)
    assert find_damage(committed) == []


def test_too_little_room_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match=r"needs 1125899.91 GB and its disk has .* free; free space there"):
        commit(tmp_path / "step", pytest.fail, needed=2**50)


def test_a_damaged_folder_is_replaced(committed: Path) -> None:
    (committed / "a.bin").write_bytes(b"other")
    commit(committed, write_two)
    assert find_damage(committed) == []
    assert [path.name for path in committed.parent.iterdir()] == ["step"]


def test_removing_leaves_nothing(committed: Path) -> None:
    remove(committed)
    assert list(committed.parent.iterdir()) == []


def test_leftovers_of_a_dead_writer_go_and_nothing_else(committed: Path) -> None:
    parent = committed.parent
    for name in (".step-2.partial", ".step-1.removed", ".git"):
        (parent / name).mkdir()
        (parent / name / "file").write_bytes(b"")
    (parent / ".step-3.removed").write_bytes(b"")
    clean(parent)
    assert sorted(path.name for path in parent.iterdir()) == [".git", "step"]


def test_a_commit_begins_by_cleaning(committed: Path) -> None:
    (committed.parent / ".step.partial").mkdir()
    (committed.parent / ".step.partial" / "a.bin").write_bytes(b"al")
    (committed / "a.bin").unlink()
    commit(committed, write_two)
    assert find_damage(committed) == []
