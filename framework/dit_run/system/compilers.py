"""Compilers: those that torch.compile starts, on the PATH of this process."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["missing_compiler"]

_GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Files of the drivers of NVIDIA, AMD, and of Windows under Linux."""


def missing_compiler(device: str) -> str | None:
    """Return what torch.compile would look for in vain on a device of ``training.device``; None if nothing is missing.

    Code for a CPU needs a C++ compiler, code for a GPU a C compiler. Imports no torch.
    """
    on_gpu = device.startswith("cuda") or (device == "auto" and any(file.exists() for file in _GPU_DRIVERS))
    variable = "CC" if on_gpu else "CXX"
    names = ("gcc", "clang", "cc") if on_gpu else ("clang++" if sys.platform == "darwin" else "g++",)
    given = os.environ.get(variable)
    if any(shutil.which(name) for name in ([given] if given else names)):
        return None
    language = "C" if on_gpu else "C++"
    return f"no {language} compiler: {f'{variable} is {given}' if given else ' or '.join(names)}, which is not found"
