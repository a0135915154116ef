"""Members of tar archives, read quickly: the headers of POSIX (ustar, pax) and GNU archives, and nothing between them.

Python's tarfile takes about 40 µs for a member; an index of millions of members needs a few. References: POSIX.1-2017,
pax, "ustar Interchange Format"; the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["DamagedTar", "Member", "TarMembers"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_WINDOW = 4096
"""Bytes that are read at once: header, caption and next header, or header and the start of an image."""
_MOST_EXTENDED = 2**20
"""Largest extended header (bytes)."""
_FILES = b"0\x007"
"""Types of files: regular, regular of old archives, contiguous."""
_BARE = b"123456"
"""Types without content: links, devices, folders, pipes."""


class DamagedTar(Exception):
    """An archive is damaged, cut short, or no plain tar archive. The text says why."""


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    offset: int
    """Place of its first byte in the archive."""
    size: int


class _Header(NamedTuple):
    kind: int
    name: str
    size: int


@dataclass
class TarMembers:
    """The files in an open archive, in order. ``descriptor`` stays the caller's."""

    descriptor: int
    length: int
    """Size of the archive (bytes)."""
    last: str = "its start"
    """Name of the last complete member."""
    _window: bytes = b""
    _start: int = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the files. Raises DamagedTar and OSError."""
        at, name, size = 0, "", -1
        while (header := _header(self._block(at))) is not None:
            start, own = at + _BLOCK, header.size if size < 0 else size
            at = start if header.kind in _BARE else start + -(-own // _BLOCK) * _BLOCK
            if at > self.length:
                raise DamagedTar("the content of the next member is cut short")
            if header.kind in b"xL":
                found, number = self._extended(header, start)
                name, size = found or name, size if number < 0 else number
                continue
            if header.kind in b"gK":
                continue
            member = Member(name or header.name, start, own)
            name, size = "", -1
            if header.kind == ord("S"):
                raise DamagedTar(f"{member.name} is a sparse member; pack the archive without --sparse")
            if header.kind in _FILES and not member.name.endswith("/"):
                yield member
            self.last = member.name

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the archive, fewer at its end. Raises OSError."""
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._window):
            self._window, self._start, begin = _pread(self.descriptor, max(size, _WINDOW), offset), offset, 0
        return self._window[begin : begin + size]

    def _block(self, at: int) -> bytes:
        block = self.read(at, _BLOCK)
        if len(block) < _BLOCK:
            raise DamagedTar("the end of the archive is missing" if at else "it has less than one block")
        return block

    def _extended(self, header: _Header, start: int) -> tuple[str, int]:
        """Return the name, and the size or -1, that an extended header gives to the next member."""
        if header.size > _MOST_EXTENDED:
            raise DamagedTar(f"an extended header has {header.size:,} bytes")
        content = self.read(start, header.size)
        if header.kind == ord("L"):
            return _text(content), -1
        records = _pax(content)
        if any(key.startswith(b"GNU.sparse") for key in records):
            raise DamagedTar("a member is sparse; pack the archive without --sparse")
        try:
            return _text(records.get(b"path", b"")), int(records.get(b"size", b"-1"))
        except ValueError as error:
            raise DamagedTar("an extended header has a size that is no number") from error


def _header(block: bytes) -> _Header | None:
    """Return the header in a block; None for the block of zeros at the end of an archive."""
    if block == _ZEROS:
        return None
    total = sum(block[148:156])
    # The low half of Adler-32 is the sum of all bytes plus 1, modulo 65,521; a checksum counts its own field as spaces.
    expected = (_number(block[148:156]) - 8 * 0x20 + total + 1) % 65_521
    if zlib.adler32(block) & 0xFFFF != expected:
        hint = "; it is compressed: unpack it with gunzip or the like" if _compressed(block) else ""
        raise DamagedTar(f"the checksum of the next header is wrong{hint}")
    size = _number(block[124:136])
    if size < 0:
        raise DamagedTar("the next header has a size that cannot be read")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    return _Header(block[156], name, size)


def _number(field: bytes) -> int:
    """Return a number in octal digits or, where the first bit is set, in base 256; below 0 if it cannot be read."""
    try:
        return int.from_bytes(field[1:]) if field[0] == 0x80 else int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return -1


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax(content: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header: ``length key=value`` and a newline each."""
    records, at = dict[bytes, bytes](), 0
    while at < len(content) and content[at]:
        digits, space, _ = content[at : at + 20].partition(b" ")
        end = at + int(digits) if digits.isdigit() else 0
        key, sign, value = content[at + len(digits) + 1 : end - 1].partition(b"=")
        if not (space and sign and content[end - 1 : end] == b"\n"):
            raise DamagedTar("an extended header is broken")
        records[key], at = value, end
    return records


def _compressed(block: bytes) -> bool:
    return block.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    parts, left = list[bytes](), size
    while left and (part := os.pread(descriptor, left, offset + size - left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
