"""Scratch memory: used again by its thread alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dit_run.data.scratch import MAX_KEPT_BYTES, Scratch


def test_an_array_has_its_shape_and_the_memory_of_the_last_one():
    scratch = Scratch()
    first = scratch.array("a", 4, 5, 3)
    assert first.shape == (4, 5, 3) and first.dtype == np.uint8 and first.flags.c_contiguous
    assert np.shares_memory(first, scratch.array("a", 2, 3))
    assert not np.shares_memory(first, scratch.array("b", 4, 5, 3))
    assert scratch.array("a", 100).size == 100


def test_threads_have_arrays_of_their_own():
    scratch = Scratch()
    mine = scratch.array("a", 8)
    with ThreadPoolExecutor(1) as other:
        assert not np.shares_memory(mine, other.submit(scratch.array, "a", 8).result())


def test_large_arrays_are_not_kept():
    scratch = Scratch()
    assert not np.shares_memory(scratch.array("a", MAX_KEPT_BYTES + 1), scratch.array("a", MAX_KEPT_BYTES + 1))
