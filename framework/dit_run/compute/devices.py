"""What is done one way on one kind of device and another way on others: all such choices, in one place."""

from __future__ import annotations

import ctypes
import os
import sys

import torch
from torch import Tensor

__all__ = [
    "Flag",
    "answers_at_once",
    "emulates_bfloat16",
    "encoding_chunks",
    "fuses_optimizers",
    "graphics_card",
    "keep_freed_memory",
    "move",
    "pins_memory",
    "prepare_determinism",
    "seed_generators",
    "summing_dtype",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(device: torch.device) -> None:
    """Let the allocator of glibc keep large blocks that a step on a CPU frees, for the next step.

    By default these blocks go back to the system, which clears every page again.
    """
    if device.type == "cpu" and sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(_M_TRIM_THRESHOLD, -1)


def fuses_optimizers(device: torch.device) -> bool:
    """Whether torch's optimizers have kernels here that update everything at once."""
    return device.type in ("cpu", "cuda", "mps", "xpu")


def pins_memory(device: torch.device) -> bool:
    """Whether batches are loaded into memory from which they are copied while the device works."""
    return device.type == "cuda"


def answers_at_once(device: torch.device) -> bool:
    """Whether a value can be asked for without waiting for other work."""
    return device.type == "cpu"


def summing_dtype(device: torch.device) -> torch.dtype:
    """What sums over many steps are kept in: float64 but where a device has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def emulates_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is no type of the device's own: GPUs before NVIDIA's Ampere work in it slowly."""
    return device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)


def prepare_determinism(device: torch.device) -> None:
    """What torch.use_deterministic_algorithms asks for beside itself: before CUDA's first product of matrices."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def graphics_card(device: torch.device) -> dict[str, str]:
    """The card's name and the versions of what computes on it, on which the last bits of a result depend."""
    if device.type != "cuda":
        return {}
    return {
        "graphics_card": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def encoding_chunks(device: torch.device) -> tuple[int, int]:
    """How many pictures are encoded or decoded, and captions encoded, at a time. Fixed, because results may depend on
    it in the last bits; 1 on a CPU, where cached and uncached runs then agree bit for bit."""
    return (1, 1) if device.type == "cpu" else (16, 64)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the generators that work on this device and on the CPU, as torch.manual_seed does, which seeds all there are
    and takes a hundred times as long."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def move(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, without waiting for what the device is at: it would finish that first if it
    copied from memory that is not pinned."""
    if pins_memory(device) and not values.is_pinned():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class Flag:
    """A device's truth value on its way to the host. Asking for it waits for what the device was given before it, and
    not for what came after."""

    def __init__(self, value: Tensor) -> None:
        """``value``: bool, without dimensions."""
        self.late = value.device.type == "cuda"
        """Whether asking at once would wait for the device."""
        self._value = value.to("cpu", non_blocking=True) if self.late else value
        self._copied = torch.Event(value.device) if self.late else None
        if self._copied is not None:
            self._copied.record()

    def __bool__(self) -> bool:
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._value)
