"""The choice of ``training.compile_model`` on a device: whether the model is compiled, and why not."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dit_run.system.compilers import missing_compiler

__all__ = ["CompileModel", "fault_of_trial", "may_compile", "reason_not_to_compile"]

CompileModel = Literal[False, True, "auto", "whole"]
"""Values of ``training.compile_model``."""


def may_compile(wanted: CompileModel, device: torch.device) -> bool:
    """Return True if a run on this device may compile its model; a trial of the compiler may still say no."""
    return wanted is not False and (wanted != "auto" or device.type == "cuda")


def reason_not_to_compile(wanted: CompileModel, device: torch.device) -> str | None:
    """Return why the model is not compiled on this device, None if it is.

    For ``auto`` a small function is compiled first, which finds a compiler that is missing or broken.
    """
    if wanted != "auto":
        return None if wanted else "training.compile_model is false"
    if device.type != "cuda":
        return f"the model is not compiled, because training.compile_model is auto and the device {device.type}"
    fault = missing_compiler(str(device)) or fault_of_trial(device)
    return f"the model is not compiled, as training.compile_model is auto: {fault}" if fault else None


def fault_of_trial(device: torch.device) -> str | None:
    """Compile a small function on the device; return the first line of what fails, None if it works.

    The function first runs uncompiled: a device that does not work raises its own error.
    """
    numbers = torch.ones(8, device=device)
    _small(numbers)
    try:
        torch.compile(_small)(numbers)
    except Exception as error:  # noqa: BLE001 (compilers fail in many ways, and the run can do without any)
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return None


def _small(numbers: Tensor) -> Tensor:
    return numbers.sin() + 1
