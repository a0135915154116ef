"""The choice of training.compile_model on a device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dit_run.training.compile_choice import CompileModel, may_compile, reason_not_to_compile

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("wanted", "device", "may"),
    [(False, CUDA, False), (True, CPU, True), ("whole", CPU, True), ("auto", CPU, False), ("auto", CUDA, True)],
)
def test_auto_is_for_cuda_alone(wanted: CompileModel, device: torch.device, may: bool) -> None:
    assert may_compile(wanted, device) is may


def test_a_written_choice_is_taken() -> None:
    assert reason_not_to_compile(True, CPU) is None
    assert reason_not_to_compile("whole", CPU) is None
    assert reason_not_to_compile(False, CPU) == "training.compile_model is false"


def test_auto_says_in_a_line_why_a_cpu_compiles_nothing() -> None:
    assert reason_not_to_compile("auto", CPU) == (
        "the model is not compiled, because training.compile_model is auto and the device cpu"
    )


def test_auto_says_which_compiler_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    reason = reason_not_to_compile("auto", CUDA)
    assert reason == (
        "the model is not compiled, as training.compile_model is auto: "
        "no C compiler: CC is no-such-compiler, which is not found"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU works here")
def test_a_device_that_fails_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "true")
    with pytest.raises((AssertionError, RuntimeError), match=r"(?i)cuda"):
        reason_not_to_compile("auto", CUDA)


TRIAL = """
import torch
from dit_run.training.compile_choice import fault_of_trial
print(fault_of_trial(torch.device("cpu")))
"""


@pytest.mark.slow
def test_a_compiler_that_fails_is_told_in_a_line(tmp_path: Path) -> None:
    # In a process of its own: torch remembers the compiler that it found first.
    given = {**os.environ, "CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", TRIAL], env=given, capture_output=True, text=True, check=True)
    (fault,) = done.stdout.splitlines()
    assert fault != "None" and len(fault) <= 300
