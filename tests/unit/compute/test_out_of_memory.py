"""Running out of memory: which numbers are proposed, and for which errors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.compute.out_of_memory import (
    OutOfMemory,
    smaller_batch,
    translate_building,
    translate_out_of_memory,
    translate_sampling,
    translate_working,
)
from dit_run.registry.components import Component, Kind
from dit_run.registry.factories import PluginFault, call


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "proposal"),
    [(96, 1, (48, 2)), (64, 2, (32, 4)), (5, 1, (1, 5)), (9, 2, (3, 6)), (1, 8, None)],
)
def test_the_proposal(batch_size: int, accumulation: int, proposal: tuple[int, int] | None) -> None:
    assert smaller_batch(batch_size, accumulation) == proposal


@given(st.integers(2, 500), st.integers(1, 50))
def test_a_proposal_keeps_the_effective_batch_at_half_the_size_or_less(batch_size: int, accumulation: int) -> None:
    proposal = smaller_batch(batch_size, accumulation)
    assert proposal is not None
    assert proposal[0] * proposal[1] == batch_size * accumulation
    assert proposal[0] <= batch_size / 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_the_answer_names_the_two_numbers_to_try(error: Exception) -> None:
    with pytest.raises(OutOfMemory) as caught, translate_out_of_memory(96, 1):
        raise error
    assert str(caught.value) == (
        "out of memory with training.batch_size 96 and gradient_accumulation_steps 1; try training.batch_size=48 "
        "training.gradient_accumulation_steps=2, which keeps 96 samples per step"
    )


def test_the_allocator_of_this_machine_is_answered() -> None:
    with pytest.raises(OutOfMemory), translate_out_of_memory(2, 1):
        torch.empty(2**60)


def test_a_single_sample_that_does_not_fit_says_so() -> None:
    with pytest.raises(OutOfMemory, match="a single sample does not fit"), translate_out_of_memory(1, 8):
        raise MemoryError


@pytest.mark.parametrize(
    ("batch_size", "said"),
    [
        (16, "out of memory with 16 images at a time; try --batch-size 8"),
        (1, "out of memory with one image; use a smaller --size"),
    ],
)
def test_drawing_that_does_not_fit_says_what_to_try(batch_size: int, said: str) -> None:
    with pytest.raises(OutOfMemory) as caught, translate_sampling(batch_size):
        torch.empty(2**60)
    assert str(caught.value) == said


def test_other_work_that_does_not_fit_is_named_with_its_remedy() -> None:
    with (
        pytest.raises(OutOfMemory) as caught,
        translate_out_of_memory(96, 1),
        translate_working("drawing", "draw fewer"),
    ):
        raise MemoryError
    assert str(caught.value) == "out of memory drawing; draw fewer"


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No options."""


def test_a_model_that_does_not_fit_is_no_fault_of_its_plugin() -> None:
    with (
        pytest.raises(OutOfMemory, match="out of memory for the model alone; lower"),
        translate_building(),
    ):
        call(Component(Kind.MODEL, "huge", Nothing, lambda options: torch.empty(2**60)), None)


def test_an_answer_is_given_once() -> None:
    with pytest.raises(OutOfMemory, match="for the model alone"), translate_out_of_memory(8, 1), translate_building():
        raise MemoryError


def test_a_fault_of_another_kind_stays_one() -> None:
    with pytest.raises(PluginFault, match=r"model\.odd could not be built: KeyError"), translate_building():
        call(Component(Kind.MODEL, "odd", Nothing, lambda options: {}["x"]), None)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), translate_out_of_memory(8, 1):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
