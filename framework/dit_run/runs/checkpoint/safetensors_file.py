"""Safetensors files, written one tensor at a time, with the same bytes for the same tensors.

``save_file`` of the safetensors library writes these bytes, too, and is not used for three reasons. It copies all
tensors of a file from the GPU to the host before it writes the first one, which takes as much memory as the model or
twice as much for an optimizer; before version 0.8 it does so on a CPU as well. It refuses tensors that share memory,
such as tied weights. And it writes several texts in an order that differs between processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dit_run.problems import InputError

__all__ = ["read_safetensors", "tensor_bytes", "write_safetensors"]

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_METADATA = "__metadata__"
_BUFFER = 1 << 20


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors, of any device and stride, and texts. Wide elements come first, so that all are aligned.

    Raises OSError, and TypeError naming a tensor whose dtype the format does not have.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    offset = 0
    for name in order:
        end = offset + tensors[name].nbytes
        header[name] = {
            "dtype": _dtype_name(name, tensors[name]),
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=_BUFFER) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_bytes(tensors[name]))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, on the CPU, and the texts. Raises InputError naming the file if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error


def tensor_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of all tensors together."""
    return sum(tensor.nbytes for tensor in tensors.values())


def _dtype_name(name: str, tensor: Tensor) -> str:
    if name == _METADATA or tensor.dtype not in _NAMES or tensor.layout is not torch.strided:
        raise TypeError(f"tensor {name!r} ({tensor.dtype}, {tensor.layout}) cannot be saved as safetensors")
    return _NAMES[tensor.dtype]


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
