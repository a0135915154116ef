"""Layouts: which positions belong to which micro-batch and process, and one layout for every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_parts import CONFIG, CPU

from dit_run import load_config
from dit_run.assembly.layout import Layout, continued_accumulation
from dit_run.assembly.prepare import prepare
from dit_run.compute.distributed import Processes
from dit_run.problems import ConfigError, InputError

SMALL = st.integers(1, 5)


def test_processes_share_out_consecutive_micro_batches() -> None:
    first, second = (Layout(2, 2, processes=2, rank=rank) for rank in (0, 1))
    assert first.global_batch == 8
    assert list(first.micro_batches(1, 3)) == [[8, 9], [10, 11], [16, 17], [18, 19]]
    assert list(second.micro_batches(1, 3)) == [[12, 13], [14, 15], [20, 21], [22, 23]]
    assert [first.first_micro_batch, second.first_micro_batch] == [0, 2]


def test_processes_that_share_weights_take_turns_with_micro_batches() -> None:
    layouts = [Layout(1, 2, processes=4, rank=rank, stride=2) for rank in range(4)]
    assert [list(each.micro_batches(1, 2)) for each in layouts] == [
        [[8], [10]],
        [[9], [11]],
        [[12], [14]],
        [[13], [15]],
    ]
    assert [each.first_micro_batch for each in layouts] == [0, 1, 4, 5]


@given(batch_size=SMALL, accumulation=SMALL, replicas=SMALL, stride=SMALL, first=SMALL, steps=SMALL)
def test_all_processes_together_visit_each_position_once(
    batch_size: int, accumulation: int, replicas: int, stride: int, first: int, steps: int
) -> None:
    processes = replicas * stride
    layouts = [Layout(batch_size, accumulation, processes, rank, stride) for rank in range(processes)]
    visited = sorted(
        p for layout in layouts for positions in layout.micro_batches(first, first + steps) for p in positions
    )
    size = batch_size * accumulation * processes
    assert visited == list(range(first * size, (first + steps) * size))


def test_a_layout_is_that_of_the_config_and_the_processes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    config = load_config(path, "training.gradient_accumulation_steps=2")
    assert Layout.of(config) == Layout(4, 2)
    assert Layout.of(config, Processes(1, 3)) == Layout(4, 2, processes=3, rank=1)
    assert Layout.of(config, Processes(1, 2), global_batch=32) == Layout(4, 4, processes=2, rank=1)
    shared = load_config(path, "training.shard=2")
    assert Layout.of(shared, Processes(1, 4)) == Layout(4, 1, processes=4, rank=1)
    exact = load_config(path, "training.shard=2", "training.elastic_exact=true")
    assert Layout.of(exact, Processes(1, 4)) == Layout(4, 1, processes=4, rank=1, stride=2)
    assert Layout.of(exact) == Layout(4, 1)


def test_accumulation_is_part_of_the_length_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    words = ["data.train_split=1.0", "training.num_epochs=1", "training.max_steps=null"]
    config = load_config(path, *words, "training.gradient_accumulation_steps=5")
    assert prepare(config, device=CPU)[1].run_length.total_steps == 40 // 20


def test_a_tree_of_gradients_needs_a_power_of_two_of_micro_batches(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    words = ["training.elastic_exact=true", "training.gradient_accumulation_steps"]
    with pytest.raises(
        ConfigError, match=r"needs a power of two of micro-batches per step, but gradient_accumulation_steps is 3"
    ):
        load_config(path, words[0], f"{words[1]}=3")
    assert load_config(path, words[0], f"{words[1]}=4").training.gradient_accumulation_steps == 4


@pytest.mark.parametrize(("stored", "batch", "processes", "expected"), [(8, 2, 1, 4), (8, 2, 2, 2), (8, 2, 4, 1)])
def test_accumulation_keeps_the_global_batch(stored: int, batch: int, processes: int, expected: int) -> None:
    assert continued_accumulation(stored, batch, processes) == expected


@pytest.mark.parametrize(
    ("stored", "batch", "processes", "fitting"),
    [
        (12, 2, 4, "1, 2, 3, 6; with training.batch_size=1 the 4 processes fit"),
        (8, 2, 8, "1, 2, 4; with training.batch_size=1"),
        (16, 16, 2, "1; with training.batch_size=8 the 2 processes fit"),
        (8, 3, 1, "none at this batch_size; with training.batch_size=2"),
        (4, 8, 3, "none at this batch_size$"),
    ],
)
def test_processes_that_do_not_fit_are_told_which_do(stored: int, batch: int, processes: int, fitting: str) -> None:
    with pytest.raises(
        InputError, match=f"this run's global batch is {stored}.*Numbers of processes that fit: {fitting}"
    ):
        continued_accumulation(stored, batch, processes)
