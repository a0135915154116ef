"""Tensors in pieces: any rows of them are those of the joined tensor, in memory of their own."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.compute.split_tensor import SplitTensor, join, rows_of


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_rows_are_those_of_the_joined_tensor(counts: list[int], data: st.DataObject) -> None:
    whole = torch.arange(2.0 * sum(counts)).view(-1, 2)
    split = SplitTensor(whole.split(counts))
    assert split.shape == whole.shape
    assert torch.equal(join(split), whole)
    first = data.draw(st.integers(0, len(whole)))
    count = data.draw(st.integers(0, len(whole) - first))
    for stored in (split, whole):
        assert torch.equal(rows_of(stored, first, count), whole[first : first + count])


def test_rows_are_copies_and_a_whole_tensor_is_joined_as_it_is() -> None:
    whole = torch.arange(4.0)
    rows_of(whole, 1, 2).fill_(7)
    rows_of(SplitTensor((whole[:2], whole[2:])), 0, 4).fill_(7)
    assert whole.tolist() == [0, 1, 2, 3]
    assert join(whole) is whole
