"""Random streams by purpose and position: the same values in any process, any worker and any order.

Draws come from Philox 4x64, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
2011). Its 128-bit key is the seed and a hash of the purpose; its 256-bit counter holds the position in the third word.
Each (seed, purpose, position) thus owns 2^128 blocks that no other one reaches. No global state is read or changed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

__all__ = ["MAX_SEED", "STREAMS_VERSION", "Streams", "keyed_hash"]

STREAMS_VERSION = 1
"""Version of the streams, raised by hand when any value of any stream changes; stored in checkpoints."""
MAX_SEED = 2**63 - 1
"""Largest seed."""


def keyed_hash(text: str) -> int:
    """Return 64 bits of BLAKE2b of a text, an int in [0, 2^64) that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Streams:
    """All random draws of one seed, an int in [0, 2^63)."""

    def __init__(self, seed: int) -> None:
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"a seed is an int in [0, {MAX_SEED}], not {seed}")
        self.seed = seed

    def uniforms(self, purpose: str, positions: Sequence[int]) -> NDArray[np.float32]:
        """Return one draw in [0, 1) per position, float32 [n], each a multiple of 2^-24."""
        philox = Philox(key=self._key(purpose))
        state = philox.state
        words = np.empty(len(positions), dtype=np.uint64)
        for row, position in enumerate(positions):
            _seek(philox, state, position)
            words[row] = philox.random_raw()
        return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

    def normals(self, purpose: str, positions: Sequence[int], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return standard normal draws, float32 [n, *shape]. A longer shape begins with the values of a shorter one."""
        result = np.empty((len(positions), math.prod(shape)), dtype=np.float32)
        philox = Philox(key=self._key(purpose))
        generator, state = Generator(philox), philox.state
        for row, position in zip(result, positions, strict=True):
            _seek(philox, state, position)
            generator.standard_normal(out=row, dtype=np.float32)
        return result.reshape(len(positions), *shape)

    def normal(self, purpose: str, position: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return standard normal draws, float32 of ``shape``."""
        result: NDArray[np.float32] = self.normals(purpose, [position], shape)[0]
        return result

    def uniform(self, purpose: str, position: int, count: int) -> NDArray[np.float32]:
        """Return ``count`` draws in [0, 1) of a position, float32. More draws begin with the values of fewer."""
        philox = Philox(key=self._key(purpose))
        _seek(philox, philox.state, position)
        result: NDArray[np.float32] = Generator(philox).random(count, dtype=np.float32)
        return result

    def _key(self, purpose: str) -> NDArray[np.uint64]:
        return np.array([self.seed, keyed_hash(purpose)], dtype=np.uint64)


def _seek(philox: Philox, state: Any, position: int) -> None:
    """Move ``philox`` to a position; ``state`` is its unused first state, with empty buffers."""
    state["state"]["counter"][2] = position
    philox.state = state
