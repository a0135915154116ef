"""The index of a run's training samples: which samples and captions it has, wherever they lie.

Two hashes per sample, of its key and of key with captions, their weights and scalars, are enough to name how many
samples were added, removed or changed. The bytes of images are not part of it: the cache finds latents by them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dit_run.data.column_files import Columns, array_digest
from dit_run.data.kept_columns import is_large, kept
from dit_run.data.samples import Samples
from dit_run.protocols import Identified
from dit_run.system.durable import replacing

__all__ = ["IndexChanges", "SampleIndex"]

Words = NDArray[np.uint64]

_HASH_BYTES = 8
_VERSION = 1
"""Version of the hashes, raised when they change."""


@dataclass(frozen=True)
class IndexChanges:
    """Numbers of samples by which two indices differ."""

    added: int
    removed: int
    changed: int
    """Samples of the same key with other captions, weights or scalars."""

    def __str__(self) -> str:
        changed = "changed in their captions or numbers"
        parts = [(self.added, "added"), (self.removed, "removed"), (self.changed, changed)]
        return ", ".join(f"{count:,} {what}" for count, what in parts if count)


@dataclass(frozen=True, eq=False)
class SampleIndex:
    """The hashes of some samples, uint64 [n, 2]: of the key, and of key and captions, sorted by the first."""

    hashes: Words
    kept_digest: str | None = None
    """The digest, if it is known."""

    @classmethod
    def of(cls, samples: Samples) -> SampleIndex:
        """Read every sample, without its image. The order of the samples follows from their keys, so it is left out.

        The index of many samples of a dataset with an identity is kept for the next start.
        """
        if not cls.is_kept(samples):
            return cls(_hashes(samples))
        parts = ["samples", _VERSION, _identity(samples), array_digest(samples.indices)]
        columns = kept(parts, lambda: _kept(samples), verified=True)
        return cls(columns["hashes"].reshape(-1, 2), columns["digest"].tobytes().decode())

    @staticmethod
    def is_kept(samples: Samples) -> bool:
        """Return True if the index of these samples is kept in a file, which all processes of a machine map."""
        return _identity(samples) is not None and is_large(len(samples))

    @classmethod
    def read(cls, path: Path) -> SampleIndex | None:
        """Return the index in a file that :meth:`to_bytes` filled; None if the file is missing or damaged."""
        try:
            hashes = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        fits = isinstance(hashes, np.ndarray) and hashes.dtype == np.uint64 and hashes.shape[1:] == (2,)
        return cls(hashes) if fits else None

    def __len__(self) -> int:
        return len(self.hashes)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of all hashes: equal for equal samples, in any order."""
        return self.kept_digest or hashlib.sha256(self.hashes.astype("<u8").tobytes()).hexdigest()

    def store(self, path: Path) -> None:
        """Write a file for :meth:`read`, of 16 bytes per sample, unless it holds this index. Raises OSError."""
        if self.read(path) is None or _digest_of_file(path) != self.digest:
            with replacing(path, path.with_name(f".{path.name}.partial")) as file:
                np.save(file, self.hashes)

    def changes_to(self, now: SampleIndex) -> IndexChanges:
        """Return the changes that lead from this index to another."""
        common, before, after = np.intersect1d(self.hashes[:, 0], now.hashes[:, 0], return_indices=True)
        changed = int((self.hashes[before, 1] != now.hashes[after, 1]).sum())
        return IndexChanges(len(now) - len(common), len(self) - len(common), changed)


def _identity(samples: Samples) -> str | None:
    return samples.dataset.identity if isinstance(samples.dataset, Identified) else None


def _digest_of_file(path: Path) -> str:
    """Return the digest of the index in a file, which is read and not mapped."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(samples: Samples) -> Columns:
    index = SampleIndex(_hashes(samples))
    digest = np.frombuffer(index.digest.encode(), dtype=np.uint8)
    return Columns({"hashes": index.hashes.reshape(-1), "digest": digest})


def _hashes(samples: Samples) -> Words:
    digests = bytearray()
    for index in samples.indices.tolist():
        sample = samples.dataset[index]
        state = hashlib.blake2b(sample.key.encode("utf-8", "surrogateescape"), digest_size=_HASH_BYTES)
        digests += state.digest()
        for caption in sample.captions:
            state.update(b"\0" + caption.encode("utf-8", "surrogateescape"))
        if sample.weights:
            state.update(b"\0" + repr(sample.weights).encode())
        if sample.scalars:
            state.update(b"\0" + repr(sorted(sample.scalars.items())).encode())
        digests += state.digest()
    hashes = np.frombuffer(digests, dtype="<u8").astype(np.uint64).reshape(-1, 2)
    return hashes[np.lexsort((hashes[:, 1], hashes[:, 0]))]
