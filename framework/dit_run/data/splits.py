"""Splits: which samples a run uses and which it holds out, decided by their keys alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dit_run.data.column_files import Columns
from dit_run.data.kept_columns import is_large, kept
from dit_run.problems import InputError
from dit_run.protocols import Dataset, Identified

__all__ = ["Split", "dataset_split", "split"]

_VERSION = 1
"""Version of the hashes, raised when other samples would be chosen."""

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]


class Split(NamedTuple):
    """Indices into the dataset, ordered by a hash of their keys and independent of the order of the dataset."""

    train: Ints
    validation: Ints


def dataset_split(
    dataset: Dataset, *, seed: int, num_samples: int | None, train_split: float, ascending: bool = False
) -> Split:
    """Return :func:`split` of a dataset's keys; with ``ascending`` the training samples are in the dataset's order.

    The split of a large dataset with an identity is kept for the next start.
    """
    identity = dataset.identity if isinstance(dataset, Identified) else None
    found = partial(_found, dataset, seed, num_samples, train_split, ascending)
    if identity is None or not is_large(len(dataset)):
        return found()
    parts = ["split", _VERSION, identity, seed, num_samples, train_split, ascending]
    columns = kept(parts, lambda: Columns(found()._asdict()), verified=True)
    return Split(columns["train"], columns["validation"])


def _found(dataset: Dataset, seed: int, num_samples: int | None, train_split: float, ascending: bool) -> Split:
    keys = dataset.keys() if isinstance(dataset, Identified) else (dataset[index].key for index in range(len(dataset)))
    found = split(keys, seed=seed, num_samples=num_samples, train_split=train_split)
    return found._replace(train=np.sort(found.train)) if ascending else found


def split(keys: Iterable[str], *, seed: int, num_samples: int | None, train_split: float) -> Split:
    """Choose ``num_samples`` of the keys (None: all) and assign a share ``train_split`` in (0, 1] of them to training.

    The first keys by a hash of key and seed are chosen, so a larger choice contains a smaller one. Another hash, of the
    key alone, decides the side, so the side stays the same when samples are added or removed or the seed changes.
    Shares are approximate; with a share below 1 and at least two samples neither side is empty.

    Raises InputError for a repeated key.
    """
    order, side = _hashes(keys, seed)
    chosen = np.lexsort((side, order))
    repeats = (np.diff(order[chosen]) == 0) & (np.diff(side[chosen]) == 0)
    if repeats.any():
        first, second = sorted(chosen[repeats.argmax() :][:2].tolist())
        raise InputError(
            f"samples {first} and {second} of the dataset have the same key; each sample needs its own key (data)"
        )
    chosen = chosen[:num_samples].astype(np.int64)
    trains = _trains(side[chosen], train_split)
    return Split(chosen[trains], chosen[~trains])


def _hashes(keys: Iterable[str], seed: int) -> Words:
    """Return two hashes of each key, [2, n]: of key and seed, and of the key alone. Equal pairs mean equal keys."""
    order = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little"), person=b"dit-run order")
    side = hashlib.blake2b(digest_size=8, person=b"dit-run side")
    digests = bytearray()
    for key in keys:
        data = key.encode("utf-8", "surrogateescape")
        for start in (order, side):
            state = start.copy()
            state.update(data)
            digests += state.digest()
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64).reshape(-1, 2).T


def _trains(side: Words, train_split: float) -> NDArray[np.bool_]:
    if train_split >= 1.0 or side.size < 2:
        return np.ones(side.size, dtype=np.bool_)
    trains: NDArray[np.bool_] = side < np.uint64(int(train_split * 2.0**64))
    trains[side.argmin()], trains[side.argmax()] = True, False
    return trains
