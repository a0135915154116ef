"""What is done one way on one kind of device and another way on others: all such choices, in one place."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "Flag",
    "answers_at_once",
    "emulates_bfloat16",
    "encoding_chunks",
    "fuses_optimizers",
    "fuses_rms_norm",
    "graphics_card",
    "keep_freed_memory",
    "keeps_gelu_whole",
    "move",
    "multiplies_attention",
    "norm_rows",
    "pins_memory",
    "prepare_determinism",
    "return_freed_memory",
    "seed_generators",
    "settle_memory",
    "summing_dtype",
    "weight_gradient_parts",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _MMAP_MAX, _MADV_HUGEPAGE, _MADV_COLLAPSE = -1, -3, -4, 65536, 14, 25


def keep_freed_memory(device: torch.device) -> None:
    """On a CPU with glibc, let the allocator keep large blocks that a step frees for the next one, in huge pages where
    the system gives them on request: by default every page goes back to the system, which has to clear it again, and is
    one of many small ones, with which a step takes a twentieth longer."""
    if device.type == "cpu" and sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(_M_TRIM_THRESHOLD, -1)
            with contextlib.suppress(OSError):  # a /proc that does not say
                _ask_for_huge_pages(library)


def _ask_for_huge_pages(library: ctypes.CDLL) -> None:
    """Grow the heap's addresses by half of the memory, which takes none of it, and mark them."""
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":  # Addresses count as memory there.
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.mallopt(_M_MMAP_MAX, 0)  # The heap, rather than a mapping of its own.
    library.free(library.malloc(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2))
    library.mallopt(_M_MMAP_MAX, _MMAP_MAX)
    _advise_heap(library, _MADV_HUGEPAGE)


def settle_memory(device: torch.device) -> None:
    """After :func:`keep_freed_memory`, put what the heap holds into huge pages at once, where the system gives them on
    request. A run gets them by and by; a few steps after memory was given back do not, and take a tenth longer."""
    if device.type == "cpu" and sys.platform == "linux":
        with contextlib.suppress(OSError):  # a system that does not say
            if "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
                _advise_heap(ctypes.CDLL(None), _MADV_COLLAPSE)


def _advise_heap(library: ctypes.CDLL, advice: int) -> None:
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[heap]"):
            start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
            library.madvise(start, end - start, advice)


def fuses_optimizers(device: torch.device) -> bool:
    """Whether torch's optimizers have kernels here that update everything at once."""
    return device.type in ("cpu", "cuda", "mps", "xpu")


def fuses_rms_norm(device: torch.device) -> bool:
    """Whether torch normalises by the root mean square in one kernel here."""
    return device.type != "cpu"


def pins_memory(device: torch.device) -> bool:
    """Whether batches are loaded into memory from which they are copied while the device works."""
    return device.type == "cuda"


def multiplies_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention is three products rather than torch's fused kernel, which on a CPU in bfloat16 is several times
    slower."""
    return device.type == "cpu" and dtype is torch.bfloat16


def weight_gradient_parts(device: torch.device, dtype: torch.dtype, rows: int, weights: int) -> int:
    """In how many parts of its rows the product for a linear layer's weight gradient is computed and added up, as it
    transposes one factor: on a CPU in bfloat16 one over 2,048 rows takes a third longer than two over half of them, and
    for a million weights or more some hundred rows at a time are quicker still. At most 4: each rounds the sum."""
    if device.type != "cpu" or dtype is not torch.bfloat16:
        return 1
    if weights >= 1_000_000 and rows < 4096:
        return min(4, max(1, rows // 512))
    return 2 if rows >= 2048 else 1


def answers_at_once(device: torch.device) -> bool:
    """Whether a value can be asked for without waiting for other work."""
    return device.type == "cpu"


def norm_rows(device: torch.device, values: int) -> int:
    """Of how many rows the norms are taken first, for the norm of a tensor of so many values: on a CPU torch's kernel
    for a whole tensor uses one core, and rounds more. The same for any number of threads, as the norm then is."""
    return 64 if device.type == "cpu" and values >= 2**17 else 1


def keeps_gelu_whole(device: torch.device) -> bool:
    """Whether torch.compile leaves torch's own kernels of GELU as they are: on a CPU what it makes of the error
    function takes half as long again as they do, or twice as long."""
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


def return_freed_memory(device: torch.device) -> None:
    """Undo :func:`keep_freed_memory`: give free memory back to the system, and set glibc's defaults again."""
    if device.type == "cpu" and sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(_M_MMAP_THRESHOLD, 128 << 10)
            library.mallopt(_M_TRIM_THRESHOLD, 128 << 10)
            library.malloc_trim(0)
