"""Compilers: which one torch.compile would miss."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.system.compilers import missing_compiler


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_a_cpu_needs_a_compiler_of_cpp(tools: Path) -> None:
    assert missing_compiler("cpu") == "no C++ compiler: g++, which is not found"
    program(tools / "gcc")
    assert missing_compiler("cpu") is not None
    program(tools / "g++")
    assert missing_compiler("cpu") is None


def test_a_gpu_needs_a_compiler_of_c(tools: Path) -> None:
    assert missing_compiler("cuda:1") == "no C compiler: gcc or clang or cc, which is not found"
    program(tools / "clang")
    assert missing_compiler("cuda:1") is None


def test_the_environment_names_another_one(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tools / "g++")
    monkeypatch.setenv("CXX", "icpx")
    assert missing_compiler("cpu") == "no C++ compiler: CXX is icpx, which is not found"
    program(tools / "icpx")
    assert missing_compiler("cpu") is None
