"""Provenance: what is recorded about where a run comes from, without loading what it describes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dit_run.registry.plugin import source_digest
from dit_run.runs.provenance import collect, git_state, versions


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("x")
    identity = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "trunk"], ["add", "file"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    return tmp_path


def test_it_is_plain_json_with_these_parts(tmp_path: Path) -> None:
    values = json.loads(json.dumps(collect(["x.yaml", "a=1"], [{"type": "optimizer.mine"}], threads=2, processes=4)))
    assert sorted(values) == ["arguments", "git", "machine", "plugins", "time", "versions", "working_directory"]
    assert values["arguments"] == ["x.yaml", "a=1"]
    assert values["plugins"] == [{"type": "optimizer.mine"}]
    assert (values["machine"]["threads"], values["machine"]["processes"]) == (2, 4)
    assert values["machine"]["processor"] != ""


def test_versions_name_what_decides_a_result() -> None:
    assert {"python", "dit-run", "torch", "numpy", "diffusers", "transformers"} <= set(versions())


def test_collecting_loads_nothing_heavy() -> None:
    code = (
        "import sys; from dit_run.runs.provenance import collect; collect([]);"
        "print(sorted({'torch', 'numpy', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_state_of_a_repository(repository: Path) -> None:
    state = git_state(repository)
    assert state is not None and len(state["commit"]) == 40
    assert (state["branch"], state["changed"]) == ("trunk", False)
    (repository / "file").write_text("y")
    changed = git_state(repository)
    assert changed is not None and changed["changed"]


def test_outside_a_repository_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None


def test_without_git_there_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) is None


def test_a_package_s_digest_covers_all_its_source(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "plugin.py", "inner/__init__.py", "inner/code.py"):
        (package / name).write_text(name)
    before = source_digest(package / "inner" / "code.py")
    assert source_digest(package / "plugin.py") == before
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "plugin.pyc").write_bytes(b"")
    assert source_digest(package / "plugin.py") == before
    (package / "inner" / "code.py").write_text("changed")
    assert source_digest(package / "plugin.py") != before


def test_a_single_file_s_digest_is_its_own(tmp_path: Path) -> None:
    for name in ("mine.py", "other.py"):
        (tmp_path / name).write_text("x")
    before = source_digest(tmp_path / "mine.py")
    (tmp_path / "other.py").write_text("y")
    assert source_digest(tmp_path / "mine.py") == before
