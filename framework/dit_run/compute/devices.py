"""Device differences: every choice that depends on the kind of device, in one place."""

from __future__ import annotations

import os
import platform

import torch
from torch import Tensor

from dit_run.problems import InputError

__all__ = [
    "Flag",
    "answers_at_once",
    "choose_device",
    "encoding_chunks",
    "fuses_optimizers",
    "graphics_card",
    "move",
    "multiplies_bfloat16",
    "pins_memory",
    "prepare_determinism",
    "seed_generators",
    "summing_dtype",
]


def choose_device(name: str, *, local_rank: int = 0, local_count: int = 1) -> torch.device:
    """Return the device of ``training.device``; ``auto`` takes a GPU per process if the machine has one.

    A CUDA device becomes torch's current device, because events and synchronisation use that one. Raises InputError for
    a device that is missing, and for one GPU of ``local_count`` processes on this machine.
    """
    device = _meant(name, local_rank, local_count)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _meant(name: str, local_rank: int, local_count: int) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise InputError(f"training.device is {name}, but torch sees {there} CUDA devices; use auto or cpu")
        if device.index is not None and local_count > 1:
            raise InputError(
                f"training.device is {name}, so all {local_count} processes of this machine would use one GPU; use "
                "cuda, which gives each process its own"
            )
        return torch.device("cuda", local_rank % there if device.index is None else device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("training.device is mps, which torch does not find on this machine; use auto or cpu")
    return device


def fuses_optimizers(device: torch.device) -> bool:
    """Return True if torch's optimizers have kernels here that update all parameters at once."""
    return device.type in ("cpu", "cuda", "mps", "xpu")


def pins_memory(device: torch.device) -> bool:
    """Return True if batches are loaded into pinned memory, which is copied while the device works."""
    return device.type == "cuda"


def answers_at_once(device: torch.device) -> bool:
    """Return True if a value can be read without waiting for other work."""
    return device.type == "cpu"


def summing_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype for sums over many steps: float64, except on devices without it."""
    return torch.float32 if device.type == "mps" else torch.float64


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return True if products of matrices take less time in bfloat16 than in fp32.

    NVIDIA GPUs before Ampere only emulate bfloat16. On x86 processors it needs AMX: with the older instructions of
    AVX-512 products take up to four times as long as in fp32, and without them tens of times. A GPU that is not at
    hand counts as a newer one.
    """
    if device.type == "cpu":
        if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return False
        is_x86 = platform.machine().lower() in ("x86_64", "amd64")
        supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return supported and (not is_x86 or torch.cpu._is_amx_tile_supported())
    has_card = device.type == "cuda" and torch.cuda.is_available()
    return not has_card or torch.cuda.is_bf16_supported(including_emulation=False)


def prepare_determinism(device: torch.device) -> None:
    """Set what torch.use_deterministic_algorithms also needs, before the first CUDA matrix product."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def graphics_card(device: torch.device) -> dict[str, str]:
    """Return the card's name and the versions of its libraries, on which the last bits of a result depend."""
    if device.type != "cuda":
        return {}
    return {
        "graphics_card": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def encoding_chunks(device: torch.device) -> tuple[int, int]:
    """Return how many images are encoded or decoded, and how many captions encoded, at a time.

    The numbers are fixed, because the last bits of results may depend on them. On a CPU both are 1, so that cached and
    uncached runs agree bit for bit.
    """
    return (1, 1) if device.type == "cpu" else (16, 64)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the generators of this device and of the CPU.

    torch.manual_seed seeds all devices and takes a hundred times as long.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def move(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device, copied from the host without waiting for the work of the device.

    A copy from memory that is not pinned would wait.
    """
    if values.device.type == "cpu" and pins_memory(device) and not values.is_pinned():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class Flag:
    """A truth value of the device on its way to the host.

    Reading it waits for the work before it on the device, not for the work after it.
    """

    def __init__(self, value: Tensor) -> None:
        """Start the copy of ``value``, bool without dimensions."""
        self.late = value.device.type == "cuda"
        """True if reading at once would wait for the device."""
        self._value = value.to("cpu", non_blocking=True) if self.late else value
        self._copied = torch.Event(value.device) if self.late else None
        if self._copied is not None:
            self._copied.record()

    def __bool__(self) -> bool:
        if self._copied is not None:
            self._copied.synchronize()
        return bool(self._value)
