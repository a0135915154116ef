"""Shards: files of records with checksums, written once, mapped into memory and read in any order.

A shard is a safetensors file. ``values`` holds the records one after another, ``starts`` the start of each (and the end
of the last), ``keys`` their 32-byte keys, and ``sums`` a 64-bit XXH3 over key and values of each. Values are float32,
or the bits of float16, bfloat16 and float8_e4m3fn.
"""

from __future__ import annotations

import errno
import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray

from dit_run.system.durable import replacing

__all__ = ["BITS", "FORMAT", "KEY_BYTES", "Bits", "DamagedShard", "Shard", "bits_of", "checksum", "write_shard"]

FORMAT = 2
"""Version of the format, raised by hand when the content of a shard changes; part of the name of a space."""
KEY_BYTES = 32
_INTEGERS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8}
"""Dtypes that have the bits of dtypes which numpy lacks, or which it does not compare bit by bit."""
BITS: dict[torch.dtype, Any] = {
    torch.float32: np.float32,
    torch.float16: np.int16,
    torch.bfloat16: np.int16,
    torch.float8_e4m3fn: np.uint8,
}
"""Dtypes in which numpy holds values of these dtypes, as they are or as bits."""
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 8
_MAX_HEADER = 1 << 20

Bits = NDArray[Any]


class DamagedShard(Exception):
    """A file is not a complete shard; the message says what is wrong."""


def bits_of(values: torch.Tensor, dtype: torch.dtype) -> Bits:
    """Return values rounded to ``dtype``, flat, as numpy holds them."""
    flat = values.detach().cpu().to(dtype).contiguous().view(-1)
    bits: Bits = flat.view(_INTEGERS.get(dtype, dtype)).numpy()
    return bits


def checksum(key: bytes | memoryview, values: Bits) -> int:
    """Return the 64-bit XXH3 of a record. It is several times as fast as CRC-32, which takes as long as reading."""
    digest: int = xxhash.xxh3_64_intdigest(values.data, seed=xxhash.xxh3_64_intdigest(key))
    return digest


def write_shard(path: Path, keys: Sequence[bytes], records: Sequence[Bits], dtype: torch.dtype) -> None:
    """Write records, flat arrays of values or bits of ``dtype``. The file is complete or absent. Raises OSError.

    Any number of processes may write other shards at the same time. The records are not copied in memory.
    """
    starts = np.cumsum([0, *(record.size for record in records)], dtype=np.int64)
    sums = np.array([checksum(key, record) for key, record in zip(keys, records, strict=True)], dtype=np.uint64)
    size = int(starts[-1]) * dtype.itemsize
    tensors = {
        "starts": ("I64", [len(starts)], starts.nbytes),
        "sums": ("I64", [len(sums)], sums.nbytes),
        "values": (_NAMES[dtype], [int(starts[-1])], size),
        "keys": ("U8", [len(keys), KEY_BYTES], len(keys) * KEY_BYTES),
    }
    with replacing(path, path.with_name(f".{path.name}.partial")) as file:
        file.write(_header(tensors))
        for part in (starts, sums, *records):
            file.write(part.data)
        file.write(b"".join(keys))


def _header(tensors: Mapping[str, tuple[str, list[int], int]]) -> bytes:
    """Return the header of a safetensors file of tensors with these dtypes, shapes and sizes (bytes), in this order."""
    entries, end = dict[str, object](), 0
    for name, (dtype, shape, size) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class Shard:
    """A shard, mapped for reading.

    The constructor raises DamagedShard if the structure is broken, and OSError if too many files are open.
    """

    def __init__(self, path: Path, verified: bytearray | None = None) -> None:
        """Map the file; ``verified`` is that of an earlier mapping in this process."""
        self.path = path
        try:
            header, self._data, self.size = _mapped(path)
            self.dtype = _DTYPES[header["values"]["dtype"]]
            self._values = self._array(header["values"], BITS[self.dtype])
            self._starts = self._array(header["starts"], np.int64, "I64").data
            self.keys = self._array(header["keys"], np.uint8, "U8").reshape(-1, KEY_BYTES)
            self._sums = self._array(header["sums"], np.uint64, "I64").data
            self._key_bytes = self.keys.reshape(-1).data
        except (ValueError, KeyError, TypeError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            raise DamagedShard(f"{path}: {error}") from error
        count = len(self.keys)
        if len(self._starts) != count + 1 or len(self._sums) != count:
            raise DamagedShard(f"{path}: its tables have different lengths")
        self.verified = bytearray(count) if verified is None else verified
        """Truth values of the records: 1 for one that was read and is as written."""

    def __len__(self) -> int:
        return len(self.keys)

    def values(self, row: int) -> Bits:
        """Return the flat values of a record, neither copied nor verified."""
        return self._values[self._starts[row] : self._starts[row + 1]]

    def holds(self, row: int, values: Bits) -> bool:
        """Return True if values read by :meth:`values` are as written; verified once per record."""
        if not self.verified[row]:
            key = self._key_bytes[row * KEY_BYTES : (row + 1) * KEY_BYTES]
            self.verified[row] = checksum(key, values) == self._sums[row]
        return bool(self.verified[row])

    def damaged(self) -> list[int]:
        """Return the rows of damaged records."""
        return [row for row in range(len(self)) if not self.holds(row, self.values(row))]

    def _array(self, entry: dict[str, Any], kind: Any, expected: str | None = None) -> Bits:
        start, end = entry["data_offsets"]
        if expected is not None and entry["dtype"] != expected:
            raise ValueError(f"{entry['dtype']} where {expected} was expected")
        if not 0 <= start <= end <= len(self._data):
            raise ValueError("the file is shorter than its header says")
        return np.frombuffer(self._data[start:end], dtype=kind)


def _mapped(path: Path) -> tuple[dict[str, Any], memoryview, int]:
    """Return the header of a safetensors file, its data, and the size of the file (bytes)."""
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    length = int.from_bytes(view[:8], "little")
    if length > min(_MAX_HEADER, len(view) - 8):
        raise ValueError("its header is broken")
    header = json.loads(bytes(view[8 : 8 + length]))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return header, view[8 + length :], len(view)
