"""Gradients in a fixed binary tree: the same bytes for 1, 2 and 4 processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked_processes import run_script

from dit_run.compute.distributed import Processes
from dit_run.problems import InputError
from dit_run.training.tree_reduction import TreeReducer


def reduced(leaves: list[list[float | None]]) -> list[float | None]:
    """The sum that one process gives each parameter for leaves of one number (or no gradient) a parameter."""
    parameters = [torch.nn.Parameter(torch.zeros(())) for _ in leaves[0]]
    reducer = TreeReducer(parameters, len(leaves), Processes())
    for index, leaf in enumerate(leaves):
        with reducer.micro_batch(index, last=index == len(leaves) - 1):
            for parameter, value in zip(parameters, leaf, strict=True):
                parameter.grad = None if value is None else torch.tensor(value)
    reducer.finish(parameters)
    return [None if parameter.grad is None else parameter.grad.item() for parameter in parameters]


def test_neighbours_are_added_first() -> None:
    big, one = 2.0**24, 1.0
    assert reduced([[big], [one], [one], [one]]) == [big + 2]


def test_a_parameter_without_gradients_keeps_none() -> None:
    assert reduced([[1.0, None], [2.0, None]]) == [3.0, None]


def test_a_gradient_of_some_micro_batches_counts() -> None:
    assert reduced([[None], [2.0]]) == [2.0]


def test_a_second_step_starts_afresh() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    reducer = TreeReducer([parameter], 1, Processes())
    for value in (1.0, 5.0):
        with reducer.micro_batch(0, last=True):
            parameter.grad = torch.tensor(value)
        reducer.finish([parameter])
        assert parameter.grad.item() == value
        parameter.grad = None


@pytest.mark.parametrize(
    ("micro_batches", "count", "message"),
    [
        (3, 1, "power of two of micro-batches"),
        (4, 3, "power of two of processes"),
        (2, 4, "4 processes cannot share 2"),
    ],
)
def test_shapes_that_make_no_tree_are_refused(micro_batches: int, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TreeReducer([], micro_batches, Processes(0, count))


SHARED = """
import hashlib
import torch
from forked_processes import fork_processes
from dit_run.compute.distributed import join_processes
from dit_run.training.tree_reduction import TreeReducer

def train():
    all = join_processes("cpu")
    parameters = [torch.nn.Parameter(torch.zeros(300, 7)), torch.nn.Parameter(torch.zeros(5, dtype=torch.float64)),
                  torch.nn.Parameter(torch.zeros(3))]
    reducer = TreeReducer(parameters, 8, all)
    own = 8 // all.count
    for step in range(3):
        for m in range(own):
            v = all.rank * own + m
            generator = torch.Generator().manual_seed(step * 8 + v)
            with reducer.micro_batch(m, last=m == own - 1):
                for parameter in parameters:
                    drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 10.0 ** (v - 4)
                    parameter.grad = None if parameter.numel() == 3 and v % 3 else drawn
        reducer.finish(parameters)
        digest = hashlib.sha256(b"".join(p.grad.numpy().tobytes() for p in parameters)).hexdigest()
        with open(f"{all.count}-{all.rank}", "a") as file:
            print(digest, file=file)
    all.leave()

torch.set_num_threads(1)
for count in (1, 2, 4):
    fork_processes(count, train)
"""


@pytest.mark.slow
def test_one_two_and_four_processes_reach_the_same_bytes(tmp_path: Path) -> None:
    run_script(SHARED, tmp_path)
    alone = (tmp_path / "1-0").read_text()
    assert len(set(alone.splitlines())) == 3
    shared = [(tmp_path / f"{count}-{rank}").read_text() for count in (2, 4) for rank in range(count)]
    assert shared == [alone] * 6
