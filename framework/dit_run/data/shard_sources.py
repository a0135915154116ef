"""Shard sources: where a shard lies, on a local disk or on a server, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from dit_run.data.downloads import RemoteFile
from dit_run.data.shard_cache import ShardCache
from dit_run.digests import Stat
from dit_run.system.file_ranges import FilePart, FileRange, file_state, read_range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["InShards", "LocalShard", "RemoteRange", "RemoteShard", "ShardSource"]


@dataclass(frozen=True)
class LocalShard:
    """A shard on a local disk."""

    path: Path
    status: Stat
    settled: bool = field(compare=False)
    """True if every later write of the file changes its status."""

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_local(self) -> bool:
        """True for a file that is read where it lies."""
        return True

    @property
    def name(self) -> str:
        """Name of the file, which is part of samples' keys."""
        return self.path.name

    @property
    def bytes(self) -> int:
        """Size."""
        return self.status[0]

    @property
    def identity(self) -> list[Any]:
        """Plain values that name the file and its state."""
        return [str(self.path.absolute()), list(self.status)]

    def state(self) -> Stat:
        """Return numbers that stay the same while the content does. Raises OSError."""
        return file_state(self.path)

    def opened(self) -> BinaryIO:
        """Open the file. Raises OSError."""
        return self.path.open("rb", buffering=0)

    def part(self, offset: int, size: int, name: str) -> FilePart:
        """Return a range of the file."""
        return FileRange(self.path, offset, size, name)


@dataclass(frozen=True)
class RemoteShard:
    """A shard on a server, which is read through a local copy."""

    remote: RemoteFile
    cache: ShardCache

    def __str__(self) -> str:
        return self.remote.url

    @property
    def is_local(self) -> bool:
        """True for a file that is read where it lies."""
        return False

    @property
    def name(self) -> str:
        """Name of the file, which is part of samples' keys."""
        return self.remote.url.partition("?")[0].rpartition("/")[2]

    @property
    def bytes(self) -> int:
        """Size."""
        return self.remote.bytes

    @property
    def settled(self) -> bool:
        """True if the server names the version of the file."""
        return bool(self.remote.version)

    @property
    def path(self) -> Path:
        """Path of the local copy when there is one."""
        return self.cache.path(self.remote)

    @property
    def identity(self) -> list[Any]:
        """Plain values that name the file and its state."""
        return [self.remote.url, self.remote.bytes, self.remote.version]

    def state(self) -> Stat:
        """Return numbers that stay the same while the content does."""
        return self.remote.bytes, 0, 0, int(self.remote.digest[:15], 16)

    def opened(self) -> BinaryIO:
        """Open the local copy, which is downloaded if it is missing. Raises RemoteFailed and InputError."""
        return self.cache.opened(self.remote)

    def part(self, offset: int, size: int, name: str) -> FilePart:
        """Return a range of the file."""
        return RemoteRange(self.path, offset, size, name, self)


ShardSource = LocalShard | RemoteShard


@runtime_checkable
class InShards(Protocol):
    """A dataset whose shards are known: those on servers are downloaded before a run needs them."""

    @property
    def shards(self) -> tuple[ShardSource, ...]:
        """The shards, in the order of their samples."""
        ...

    @property
    def shard_starts(self) -> NDArray[np.int64]:
        """Index of the first sample of each shard, then the number of samples."""
        ...


@dataclass(frozen=True)
class RemoteRange(FileRange):
    """``size`` bytes of a remote shard from ``offset`` on; ``path`` is that of the local copy when there is one."""

    shard: RemoteShard

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"

    def state(self) -> Stat:
        """Return numbers that stay the same while the content of the shard does."""
        return self.shard.state()

    def read(self) -> bytes:
        """Return the bytes. Raises OSError, and RemoteFailed where the shard cannot be downloaded."""
        with self.shard.opened() as file:
            return read_range(file.fileno(), self.offset, self.size)
