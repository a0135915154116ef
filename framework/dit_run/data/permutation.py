"""Permutations of any size by a key, computed at any index alone, in constant time and memory.

A permutation is a Feistel network (Luby and Rackoff, 1988) on a × a with a = ceil(sqrt(n)), repeated until the value is
in [0, n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dit_run.compute.random_streams import keyed_hash

__all__ = ["GOLDEN", "order_keys", "permute"]

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio."""
_TURNS = np.arange(1, 9, dtype=np.uint64) * GOLDEN


def permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> Ints:
    """Apply the permutation of [0, size) with the given ``key`` (uint64) to ``index``; the three arguments broadcast.

    Raises ValueError for an index outside [0, size).
    """
    indices, sizes, keys = np.broadcast_arrays(
        np.asarray(index, dtype=np.int64), np.asarray(size, dtype=np.int64), np.asarray(key, dtype=np.uint64)
    )
    if np.any((indices < 0) | (indices >= sizes)):
        raise ValueError("an index lies outside [0, size)")
    limit, result = sizes.astype(np.uint64).ravel(), indices.astype(np.uint64).ravel()
    walking = np.arange(result.size)
    side = np.ceil(np.sqrt(limit.astype(np.float64))).astype(np.uint64)
    words = keys.ravel()
    while walking.size:
        result[walking] = _feistel(result[walking], side[walking], words[walking])
        walking = walking[result[walking] >= limit[walking]]
    return result.astype(np.int64).reshape(indices.shape)


def _feistel(value: Words, side: Words, key: Words) -> Words:
    left, right = value // side, value % side
    for turn in _TURNS:
        mixed = _mix(right + _mix(key + turn))
        left, right = right, (left + mixed % side) % side
    return left * side + right


def _mix(words: Words) -> Words:
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) to an array; products wrap silently."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def order_keys(seed: int, purpose: str, *numbers: Ints) -> Words:
    """Return one key word, uint64 [n], for each row of numbers >= 0."""
    key = np.array([keyed_hash(f"{purpose}:{seed}")], dtype=np.uint64)
    for number in numbers:
        key = _mix(key + (number.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    return key
