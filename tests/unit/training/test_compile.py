"""Compilation: its failure is one message."""

from __future__ import annotations

import pytest
from torch._inductor.exc import CppCompileError

from dit_run.training.compile import CompilationFailed, translate_compilation

OUTPUT = "In file included from a.h:1,\na.cpp:3:10: fatal error: Python.h: No such file or directory\n" + "note\n" * 140


def test_the_error_of_the_compiler_is_the_message() -> None:
    with pytest.raises(CompilationFailed) as failed, translate_compilation():
        raise CppCompileError(["g++", "a.cpp"], OUTPUT)
    assert str(failed.value) == (
        "training.compile_model: the model cannot be compiled: a.cpp:3:10: fatal error: Python.h: No such file or "
        "directory. Repair the compiler, or set compile_model: false; -v shows its whole output"
    )


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match=r"^error: other$"), translate_compilation():
        raise ValueError("error: other")
