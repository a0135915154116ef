"""The format of caption states: rounding, scales of eight bits, and cut tokens."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.model.conditioning import CaptionStates
from dit_run.model.state_format import StateFormat
from dit_run.problems import InputError

NAMES = ("fp32", "bf16", "fp16", "fp8")
EIGHT = StateFormat.named("fp8", None)


def states(tokens: torch.Tensor) -> CaptionStates:
    return CaptionStates(tokens, tokens[0])


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16), (None, None)]
)
def test_values_are_rounded_to_the_dtype(name: str | None, dtype: torch.dtype | None) -> None:
    values = torch.linspace(-3, 3, 14).view(2, 7)
    form = StateFormat.named(name, None)
    assert torch.equal(form.applied([states(values)])[0].tokens, values if dtype is None else values.to(dtype).float())


@pytest.mark.parametrize(("own", "computed", "stored"), [(None, None, "float32"), (None, "bfloat16", "bfloat16")])
def test_the_dtype_is_by_default_that_of_computation(own: None, computed: str | None, stored: str) -> None:
    dtype = None if computed is None else getattr(torch, computed)
    assert StateFormat(own, 5).computed_in(dtype) == StateFormat(getattr(torch, stored), 5)
    assert StateFormat(torch.float16).computed_in(dtype) == StateFormat(torch.float16)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8), st.sampled_from(NAMES[:2] + NAMES[3:]))
def test_packed_values_stay_the_same(values: list[float], name: str) -> None:
    form = StateFormat.named(name, None)
    once = form.unpacked(form.packed(torch.tensor(values)))
    assert torch.equal(form.unpacked(form.packed(once)), once)
    assert torch.equal(
        form.packed(torch.tensor(values)).to(form.stored(None)).float(), form.packed(torch.tensor(values))
    )


def test_eight_bits_keep_each_vector_to_a_sixteenth_of_a_number_or_a_tiny_part_of_its_largest() -> None:
    values = torch.tensor([[3e-4, -1e-4, 0.0, 2e-5], [2e4, -1.0, 30.0, 5e-3]])
    rounded = EIGHT.unpacked(EIGHT.packed(values))
    allowed = (values.abs() / 16).maximum(values.abs().amax(1, keepdim=True) * 2**-18)
    assert bool(((rounded - values).abs() <= allowed).all())


def test_eight_bits_take_one_more_value_for_each_vector() -> None:
    assert (EIGHT.packed_width(16), StateFormat(torch.bfloat16).packed_width(16)) == (17, 16)
    assert EIGHT.record(states(torch.ones(3, 16))).shape == (4 * 17,)
    assert EIGHT.packed(torch.tensor([448.0, 1.0, 0.0])).tolist() == [448, 1, 0, 0]
    assert EIGHT.packed(torch.tensor([2.0, 1.0])).tolist() == [256, 128, -7]
    assert EIGHT.packed(torch.zeros(2)).tolist() == [0, 0, -9]


def test_tokens_are_cut_and_the_pooled_vector_is_that_of_all() -> None:
    tokens = torch.arange(12.0).view(4, 3)
    (cut,) = StateFormat(torch.float32, 2).applied([CaptionStates(tokens, tokens.mean(0))])
    assert torch.equal(cut.tokens, tokens[:2]) and torch.equal(cut.pooled, tokens.mean(0))
    assert (StateFormat(None, 2).longest(77), StateFormat(None, 100).longest(77), StateFormat().longest(77)) == (
        2,
        77,
        77,
    )


@pytest.mark.parametrize(("name", "value"), [("fp16", 7e4), ("fp8", 3e7)])
def test_states_that_are_too_large_are_refused(name: str, value: float) -> None:
    with pytest.raises(
        InputError,
        match=rf"too large for float.*, the largest is {re.escape(format(value, 'g'))}; set cache.text_dtype: bf16",
    ):
        StateFormat.named(name, None).applied([states(torch.tensor([[1.0, value]]))])


def test_states_that_are_not_numbers_are_left_to_the_checks_of_the_loss() -> None:
    assert StateFormat.named("fp16", None).applied([states(torch.tensor([[torch.nan]]))])[0].tokens.isnan().all()
