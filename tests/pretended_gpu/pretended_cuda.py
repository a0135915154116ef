"""A CUDA device that does not exist: real numbers on a CPU, the code paths of a GPU, and a ledger of its faults.

A tensor "on cuda" is a wrapper that reports cuda:0 around a CPU tensor, so that autocast, pinned copies, fused
optimizers and the choice of kernels take their GPU branches. A dispatch mode sees each operation. It refuses tensors
of two devices by the rules of CUDA, and records each place where the host would wait for the device.

Import this before torch, since torch asks for CUDA's hooks once. Several processes use gloo in the place of NCCL.
Limits: no torch.compile, no DistributedDataParallel and no fully_shard, which need real storage; random numbers are
those of the CPU's generator.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import subprocess
import sys
import threading
import unittest.mock as mock
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Ledger", "MixedDevices", "Wait", "library", "pretended_cuda"]


def library(folder: Path) -> Path:
    """Compile the hooks that torch asks for CUDA, once; return the library. Raises CalledProcessError."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    root, built = Path(spec.origin).parent, folder / "pretended_cuda.so"
    if not built.exists():
        source, fresh = Path(__file__).with_suffix(".cpp"), folder / f"pretended_cuda.{os.getpid()}.so"
        command = ["g++", "-O0", "-w", "-shared", "-fPIC", "-std=c++20", f"-I{root}/include"]
        command += [f"-I{root}/include/torch/csrc/api/include", str(source), "-o", str(fresh), f"-L{root}/lib"]
        subprocess.run([*command, "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{root}/lib"], check=True)
        fresh.replace(built)
    return built


def _install() -> None:
    """Load the hooks before torch, which the caller names in an environment variable."""
    if "torch" in sys.modules:
        raise RuntimeError("import pretended_cuda before torch")
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(Path(spec.origin).parent / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    hooks = ctypes.CDLL(os.environ["PRETENDED_CUDA"], mode=ctypes.RTLD_GLOBAL)
    assert hooks.install() == 1


if "PRETENDED_CUDA" in os.environ:
    _install()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.utils._python_dispatch import (  # noqa: E402
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_flatten, tree_map  # noqa: E402

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


class MixedDevices(RuntimeError):
    """Error of CUDA for tensors on two devices."""


@dataclass(frozen=True)
class Wait:
    """A place where the host waits for the device: it reads a value, or copies from or to memory that is not pinned."""

    kind: str
    stack: tuple[str, ...]
    """Functions of dit_run that asked for it, the innermost first, as ``file.py:Class.function``."""


@dataclass
class Ledger:
    """Record of waits, attention, launches and memory."""

    waits: Counter[Wait] = field(default_factory=Counter)
    attention: Counter[str] = field(default_factory=Counter)
    launches: int = 0
    live: int = 0
    """Memory of the device in use (bytes)."""
    peak: int = 0


_ledger: Ledger | None = None


def _stack() -> tuple[str, ...]:
    frame: FrameType | None = sys._getframe(1)
    found = []
    while frame is not None:
        code = frame.f_code
        if any(part in code.co_filename for part in ("dit_run/", "dit_run_plugins/")):
            found.append(f"{Path(code.co_filename).name}:{code.co_qualname}")
        frame = frame.f_back
    return tuple(found)


def _wait(kind: str) -> None:
    if _ledger is not None:
        _ledger.waits[Wait(kind, _stack())] += 1


def _launch(count: int = 1) -> None:
    if _ledger is not None:
        _ledger.launches += count


class PretendedTensor(torch.Tensor):
    """A tensor that reports cuda:0, around one of the CPU."""

    elem: torch.Tensor

    @staticmethod
    def __new__(cls, elem: torch.Tensor) -> PretendedTensor:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=CUDA,
            requires_grad=False,
        )

    def __init__(self, elem: torch.Tensor) -> None:
        self.elem = elem

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["elem"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], meta: None, size: Any, stride: Any) -> PretendedTensor:
        return PretendedTensor(inner["elem"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.elem!r})"

    def tolist(self) -> Any:
        _wait("tolist()")
        return self.elem.detach().tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy


_live: dict[int, int] = {}


def _account(elem: torch.Tensor) -> None:
    """Count the memory of a tensor's storage while it lives."""
    ledger, storage = _ledger, elem.untyped_storage()
    if ledger is None or storage._cdata in _live:
        return
    key, size = storage._cdata, storage.nbytes()
    _live[key] = size
    ledger.live += size
    ledger.peak = max(ledger.peak, ledger.live)

    def gone() -> None:
        if _live.pop(key, None) is not None:
            ledger.live -= size

    weakref.finalize(storage, gone)


def _wrapped(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and not isinstance(value, PretendedTensor):
        _account(value)
        return PretendedTensor(value)
    return value


def _plain(value: Any) -> Any:
    return value.elem if isinstance(value, PretendedTensor) else value


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


_WAITING = {
    "aten::_local_scalar_dense": "item()",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "masked_select",
    "aten::equal": "equal",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::is_nonzero": "bool()",
}
_VIEWS = {
    f"aten::{name}"
    for name in (
        "detach", "view", "_unsafe_view", "t", "transpose", "expand", "slice", "select", "unsqueeze", "squeeze",
        "permute", "alias", "split", "unbind", "as_strided", "lift_fresh", "_reshape_alias", "split_with_sizes",
        "chunk",
    )
}  # fmt: skip
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


def _run(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Do an operation on the tensors inside, and record it."""
    name, target = func._schema.name, kwargs.get("device")
    flat, _ = tree_flatten((args, kwargs))
    pretended = any(isinstance(value, PretendedTensor) for value in flat)
    if name == "aten::_to_copy":
        return _to_copy(func, args, kwargs)
    if name == "aten::copy_":
        return _copy(func, args, kwargs)
    if name in ("aten::is_pinned", "aten::_pin_memory", "aten::pin_memory"):
        return func(*args, **kwargs)
    if pretended and target is not None and not _is_cuda(target):  # zeros_like(..., device="cpu") and the like
        return func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
    _refuse_mixed(name, args, flat)
    if name in _WAITING:
        _wait(_WAITING[name])
    if name in _INDEXING and any(_is_mask(value) for value in tree_flatten(args[1])[0]):
        _wait(f"{name} by a mask")
    if name not in _VIEWS:
        _launch()
    inner = {key: CPU if key == "device" and value is not None else _plain(value) for key, value in kwargs.items()}
    out = func(*tree_map(_plain, args), **tree_map(_plain, inner))
    if not any(isinstance(value, torch.Tensor) for value in tree_flatten(out)[0]):
        return out
    wrapped = tree_map(_wrapped, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if pretended else wrapped


def _refuse_mixed(name: str, args: Any, flat: list[Any]) -> None:
    """Raise MixedDevices where a tensor of the host with dimensions meets the device, but as an index."""
    pretended = any(isinstance(value, PretendedTensor) for value in flat)
    plain = [v for v in flat if isinstance(v, torch.Tensor) and not isinstance(v, PretendedTensor) and v.dim() > 0]
    if not pretended or not plain:
        return
    if name in _INDEXING and isinstance(args[0], PretendedTensor):
        _wait(f"{name} with indices of the host")
        return
    raise MixedDevices(f"{name}: expected all tensors to be on the same device, found cuda:0 and cpu {_stack()}")


def _is_mask(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.bool, torch.uint8)


def _to_copy(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    source, target, waits = args[0], kwargs.get("device"), not kwargs.get("non_blocking", False)
    rest = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
    on_device = isinstance(source, PretendedTensor)
    to_device = _is_cuda(target) if target is not None else on_device
    out = func(_plain(source), **rest, device=CPU)
    if on_device and not to_device:
        if waits:
            _wait("copy to the host")
        return out
    _launch()
    if to_device and not on_device:
        _note_upload(source, "copy", waits)
    return _wrapped(out) if to_device else out


def _copy(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    into, source = args[0], args[1]
    waits = not (kwargs.get("non_blocking", False) or (len(args) > 2 and args[2]))
    if isinstance(source, PretendedTensor) and not isinstance(into, PretendedTensor):
        if waits:
            _wait("copy_ to the host")
    elif isinstance(into, PretendedTensor) and not isinstance(source, PretendedTensor):
        _note_upload(source, "copy_", waits)
    _launch()
    func(*tree_map(_plain, args), **kwargs)
    return into


def _note_upload(source: torch.Tensor, kind: str, waits: bool) -> None:
    if source.numel() > 0 and (waits or not _is_pinned(source)):
        _wait(f"{kind} to the device")


_pinned: set[int] = set()


def _is_pinned(value: torch.Tensor) -> bool:
    return value.untyped_storage()._cdata in _pinned


def _pin(self: torch.Tensor, *args: Any) -> torch.Tensor:
    copy = self.clone()
    key = copy.untyped_storage()._cdata
    _pinned.add(key)
    weakref.finalize(copy.untyped_storage(), _pinned.discard, key)
    return copy


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inside = any(isinstance(value, PretendedTensor) for value in tree_flatten((args, kwargs))[0])
        if func._schema.name == "aten::empty" and kwargs.get("pin_memory"):
            return _pin(func(*args, **{**kwargs, "pin_memory": False}))
        return _run(func, args, kwargs) if inside or _is_cuda(kwargs.get("device")) else func(*args, **kwargs)


class _OneKernel(torch.autograd.Function):
    """An operation for which CUDA has one kernel: real numbers from its parts, one launch each way."""

    @staticmethod
    def forward(ctx: Any, work: Any, *inputs: Any) -> Any:
        ctx.work, ctx.raw = work, [_plain(value) for value in inputs]
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, torch.Tensor)))
        _launch()
        with torch.no_grad(), _outside():
            return _wrapped(work(*ctx.raw))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        _launch(2)
        with torch.enable_grad(), _outside():
            leaves = [
                value.detach().requires_grad_(value.is_floating_point()) if isinstance(value, torch.Tensor) else value
                for value in ctx.raw
            ]
            wanted = [value for value in leaves if isinstance(value, torch.Tensor) and value.requires_grad]
            grads = torch.autograd.grad(ctx.work(*leaves), wanted, _plain(gradients[0]))
        found = iter(grads)
        takes = (isinstance(value, torch.Tensor) and value.requires_grad for value in leaves)
        return None, *(_wrapped(next(found)) if take else None for take in takes)


@contextlib.contextmanager
def _outside() -> Iterator[None]:
    """Do without the mode and the autocast of the device."""
    with _disable_current_modes(), torch.autocast("cuda", enabled=False):
        yield


def _attention(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, **rest: Any
    ) -> torch.Tensor:
        if not isinstance(query, PretendedTensor):
            return original(query, key, value, attn_mask=attn_mask, **rest)
        if torch.is_autocast_enabled("cuda"):  # attention is on the list of what autocast lowers
            query, key, value = (part.to(torch.get_autocast_dtype("cuda")) for part in (query, key, value))
        if attn_mask is not None and not isinstance(attn_mask, PretendedTensor):
            raise MixedDevices(f"attention with a mask of the host {_stack()}")
        if len({part.dtype for part in (query, key, value)}) > 1:
            raise RuntimeError(f"attention of {query.dtype}, {key.dtype} and {value.dtype} {_stack()}")
        if _ledger is not None:
            masked = "" if attn_mask is None else " masked"
            _ledger.attention[f"{query.dtype} q={query.shape[-2]} k={key.shape[-2]}{masked}"] += 1

        def work(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any) -> torch.Tensor:
            mask = mask if mask is None or mask.dtype is torch.bool else mask.float()
            return original(q.float(), k.float(), v.float(), attn_mask=mask, **rest).to(q.dtype)

        out: torch.Tensor = _OneKernel.apply(work, query, key, value, attn_mask)
        return out

    return attend


def _rms_norm(original: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def norm(x: torch.Tensor, shape: Any, weight: Any = None, eps: Any = None) -> torch.Tensor:
        if not isinstance(x, PretendedTensor):
            return original(x, shape, weight, eps)
        out: torch.Tensor = _OneKernel.apply(lambda a, w: original(a, shape, w, eps), x, weight)
        return out

    return norm


def _init_process_group(original: Callable[..., None]) -> Callable[..., None]:
    def init(backend: str, **rest: Any) -> None:
        original(backend.replace("nccl", "gloo"), **rest)

    return init


class _Event:
    """An event of the device: it has happened, since the device does its work at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def record(self, *args: Any) -> None: ...
    def synchronize(self) -> None: ...
    def elapsed_time(self, end: _Event) -> float:
        return 0.0


@contextlib.contextmanager
def pretended_cuda(*, memory: int = 24 * 2**30) -> Iterator[Ledger]:
    """While entered, torch believes in one CUDA device, in this thread and in those it starts."""
    global _ledger
    ledger = _ledger = Ledger()
    started = threading.Thread.run

    def run(self: threading.Thread) -> None:
        with _Mode():
            started(self)

    values: list[tuple[Any, str, Any]] = [
        (threading.Thread, "run", run),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "is_initialized", lambda: True),
        (torch.cuda, "_lazy_init", lambda: None),
        (torch.cuda, "set_device", lambda device: None),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "get_device_name", lambda device=None: "Pretended GPU"),
        (torch.cuda, "get_device_capability", lambda device=None: (9, 0)),
        (torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
        (torch.cuda, "mem_get_info", lambda device=None: (memory - ledger.live, memory)),
        (torch.cuda, "memory_reserved", lambda device=None: ledger.live),
        (torch.cuda, "max_memory_reserved", lambda device=None: ledger.peak),
        (torch.cuda, "reset_peak_memory_stats", lambda device=None: setattr(ledger, "peak", ledger.live)),
        (torch.cuda, "empty_cache", lambda: None),
        (torch.cuda, "synchronize", lambda device=None: _wait("synchronize()")),
        (torch.cuda, "manual_seed_all", lambda seed: None),
        (torch.cuda, "get_rng_state", lambda device=None: torch.default_generator.get_state()),
        (torch.cuda, "set_rng_state", lambda state, device=None: None),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.backends.cudnn, "version", lambda: 91002),
        (torch.version, "cuda", "13.0"),
        (torch, "Event", _Event),
        (torch.cuda, "Event", _Event),
        (torch.Tensor, "pin_memory", _pin),
        (torch.Tensor, "is_pinned", _is_pinned),
        (torch.distributed, "init_process_group", _init_process_group(torch.distributed.init_process_group)),
        (F, "scaled_dot_product_attention", _attention(F.scaled_dot_product_attention)),
        (F, "rms_norm", _rms_norm(F.rms_norm)),
    ]
    with contextlib.ExitStack() as stack:
        for target, name, value in values:
            stack.enter_context(mock.patch.object(target, name, value, create=True))
        before = torch._C._only_lift_cpu_tensors()  # torch.tensor(..., device="cuda") moves where the mode sees it
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(_Mode())
        try:
            yield ledger
        finally:
            _ledger = None
