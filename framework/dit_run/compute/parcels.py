"""Parcels: values that a process hands to another one in an unnamed file in memory.

They need no shared-memory folder, name, semaphore or lock: a container's small ``/dev/shm`` is no limit, and a killed
process leaves nothing behind. One descriptor is open while a parcel travels, however many tensors are in it.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["pack", "unpack"]

_ALIGNMENT = 64
"""Alignment of tensors (bytes)."""
_HEAD = struct.Struct("<Q")
"""Size of the pickled part, which follows; then come the tensors."""


def pack(value: object) -> int:
    """Return the open descriptor of a file that holds a picklable value; the caller closes it. Raises OSError."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)
    pickled = stream.getbuffer()
    descriptor = _open_file()
    try:
        _write(descriptor, _HEAD.pack(len(pickled)), 0)
        _write(descriptor, pickled, _HEAD.size)
        start = _aligned(_HEAD.size + len(pickled))
        for offset, part in pickler.parts:
            _write(descriptor, part, start + offset)
        os.ftruncate(descriptor, start + pickler.size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unpack(descriptor: int, *, pin: bool = False) -> Any:
    """Return the value in a file that :func:`pack` returned, and close it; the tensors are views of one.

    The file is mapped, not copied; ``pin`` reads it into pinned memory, from which a GPU copies while it works. Raises
    OSError.
    """
    try:
        content = _pinned(descriptor) if pin else _mapped(descriptor)
    finally:
        os.close(descriptor)
    view = content.numpy().data
    end = _HEAD.size + _HEAD.unpack_from(view)[0]
    return _Unpickler(io.BytesIO(view[_HEAD.size : end]), content[_aligned(end) :]).load()


class _Pickler(pickle.Pickler):
    """Pickles all but the content of tensors and arrays, which it lists."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.parts: list[tuple[int, memoryview]] = []
        """Offset and bytes of each tensor or array."""
        self.size = 0

    def persistent_id(self, value: object) -> tuple[Any, ...] | None:
        if type(value) is Tensor:
            flat = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            return self._add(flat.numpy()), value.dtype, tuple(value.shape)
        if type(value) is np.ndarray and not value.dtype.hasobject:
            return self._add(np.ascontiguousarray(value).reshape(-1).view(np.uint8)), value.dtype, value.shape
        return None

    def _add(self, content: np.ndarray[Any, Any]) -> slice:
        start = _aligned(self.size)
        self.size = start + content.nbytes
        self.parts.append((start, content.data))
        return slice(start, self.size)


class _Unpickler(pickle.Unpickler):
    """Takes the content of tensors and arrays from a tensor of bytes."""

    def __init__(self, stream: io.BytesIO, content: Tensor) -> None:
        super().__init__(stream)
        self._content = content

    def persistent_load(self, identity: tuple[slice, Any, Sequence[int]]) -> Any:
        place, dtype, shape = identity
        content = self._content[place]
        if isinstance(dtype, torch.dtype):
            return content.view(dtype).view(shape)
        return content.numpy().view(dtype).reshape(shape)


def _open_file() -> int:
    """Open an unnamed file: in memory on Linux, in the folder for temporary files on other systems."""
    try:
        return os.memfd_create("dit-run")
    except (AttributeError, OSError):  # OSError: a sandbox that forbids the call
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _write(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def _mapped(descriptor: int) -> Tensor:
    """Return the bytes of a file as a tensor; a page is copied only when something writes to it."""
    # mmap.mmap would keep a second descriptor open for as long as a tensor of the parcel lives.
    return torch.from_file(f"/dev/fd/{descriptor}", shared=False, size=os.fstat(descriptor).st_size, dtype=torch.uint8)


def _pinned(descriptor: int) -> Tensor:
    content = torch.empty(os.fstat(descriptor).st_size, dtype=torch.uint8, pin_memory=True)
    rest, offset = content.numpy().data, 0
    while rest:
        count = os.preadv(descriptor, [rest], offset)
        if not count:
            raise OSError(f"a parcel ends after {offset} of {len(content)} bytes")
        rest, offset = rest[count:], offset + count
    return content


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
