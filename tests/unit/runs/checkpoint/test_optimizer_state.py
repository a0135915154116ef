"""An optimizer's state, taken apart and put together, is the same bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.problems import InputError
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, write_safetensors

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool]


def bits(value: Any) -> Any:
    """The value with each tensor as (type, shape, bytes) and each float as its hexadecimal spelling."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).tolist()
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, dict):
        return [(bits(key), bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(item) for item in value]
    return type(value).__name__, value


tensors = st.builds(
    lambda dtype, shape, seed: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 9),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.text(max_size=6) | st.integers() | st.sampled_from(["$tensor", "$items", "a/b", "a~b", "__metadata__"])
values = st.recursive(
    scalars | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_any_state_comes_back_bit_for_bit(value: Any) -> None:
    parts, skeleton = split_state(value)
    assert bits(join_state(parts, skeleton, where="here")) == bits(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(
            [{"params": p[:1], "lr": 0.1}, {"params": p[1:], "weight_decay": 0}], betas=(0.9, 0.99)
        ),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adafactor(p),
        lambda p: torch.optim.RMSprop(p, centered=True),
    ],
)
def test_a_continued_optimizer_steps_to_the_same_bits(make: Any, tmp_path: Path) -> None:
    def stepped(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> None:
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, 0.3 + index)
        optimizer.step()

    ours = [torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)), torch.nn.Parameter(torch.ones(2))]
    optimizer = make(ours)
    stepped(optimizer, ours)
    parts, skeleton = split_state(optimizer.state_dict())
    write_safetensors(tmp_path / "o.safetensors", parts, {"skeleton": skeleton})

    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    continued = make(theirs)
    read, texts = read_safetensors(tmp_path / "o.safetensors")
    continued.load_state_dict(join_state(read, texts["skeleton"], where="here"))
    assert bits(continued.state_dict()) == bits(optimizer.state_dict())
    stepped(optimizer, ours)
    stepped(continued, theirs)
    assert bits(theirs) == bits(ours)


def test_what_cannot_be_saved_is_named_with_its_place() -> None:
    with pytest.raises(TypeError, match="the state holds object at state/0/history; only tensors"):
        split_state({"state": {0: {"history": object()}}})


@pytest.mark.parametrize("skeleton", ['{"$tensor": "absent"}', "{", '{"$items": 3}', "[" * 100_000])
def test_parts_that_do_not_belong_together_are_refused(skeleton: str) -> None:
    with pytest.raises(InputError, match="the optimizer state in here cannot be restored"):
        join_state({}, skeleton, where="here")
