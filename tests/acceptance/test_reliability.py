"""A part of ``python -m tests.endurance`` that every test run has time for, and what must hold of processes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from endurance import grid, jobs, parts, signals
from endurance.forge import Forge
from endurance.parts import Case, Workshop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("endurance")
    try:
        forge = Forge(folder / "forge")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with forge:
        yield Workshop(folder, forge, busy=60)


def failures(cases: Iterator[Case]) -> dict[str, list[str]]:
    return {name: faults for name, case in cases if (faults := case())}


def test_killed_at_any_call_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(parts.kill_points(workshop, every=50)) == {}


def test_killed_while_a_thread_saves_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(islice(parts.kills_of_async_saves(workshop, every=50), 1, None)) == {}


def test_killed_inside_a_write_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(parts.torn_writes(workshop, every=20)) == {}


def test_a_full_or_failing_disk_loses_nothing(workshop: Workshop) -> None:
    assert failures(parts.disk_faults(workshop, every=100)) == {}


def test_a_stop_insists_on_its_checkpoint(workshop: Workshop) -> None:
    assert failures(islice(parts.refused_stops(workshop), 1)) == {}


def test_after_a_power_loss_there_is_a_checkpoint_to_continue_from(workshop: Workshop) -> None:
    assert failures(parts.power_losses(workshop)) == {}


def test_killed_at_random_moments_it_leaves_no_process_and_loses_nothing(workshop: Workshop) -> None:
    assert failures(islice(signals.random_kills(workshop, each=2), 1, 2)) == {}


def test_stopped_at_random_moments_it_loses_no_step(workshop: Workshop) -> None:
    assert failures(islice(signals.random_stops(workshop, each=2), 1)) == {}


def test_stopped_after_any_step_it_continues_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(islice(grid.stops(workshop, steps=range(7, 8), workers=(0, 1)), 2, 4)) == {}


def test_stopped_under_torchrun_it_continues_alone_to_the_same_bytes(workshop: Workshop) -> None:
    assert failures(grid.elastic_chain(workshop, (1, 2, 1))) == {}


def test_a_changed_weight_moment_or_state_shows(workshop: Workshop) -> None:
    assert failures(islice(grid.corrupted_items(workshop), 0, None, 3)) == {}


def test_a_lost_process_ends_the_job_and_leaves_nothing(workshop: Workshop) -> None:
    assert failures(case for case in jobs.lost_processes(workshop) if case[0] == "killed rank") == {}
