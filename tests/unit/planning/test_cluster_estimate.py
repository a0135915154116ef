"""The estimate of training on many GPUs: closed forms of memory and traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dit_run.planning.batch_choice import MARGIN
from dit_run.planning.cluster_estimate import Cluster, Needs, sharded_step, shards_of

NEEDS = Needs(trained=10**9, held=16 * 10**9, sample=10**9, fixed=5 * 10**8, gathered_bytes=2)
ONE_NODE = Cluster(gpus=8, per_node=8, memory=80 * 10**9)
EIGHT_NODES = Cluster(gpus=64, per_node=8, memory=80 * 10**9)


def test_weights_are_shared_by_none_by_a_machine_or_by_all() -> None:
    assert shards_of(ONE_NODE) == [1, 8]
    assert shards_of(EIGHT_NODES) == [1, 8, 64]
    assert shards_of(Cluster(1, 1, 10**9)) == [1]


def test_shards_divide_all_but_activations_and_gathered_weights() -> None:
    assert sharded_step(NEEDS, ONE_NODE, 1, 4).memory == 20e9 + 0.5e9 + 4e9
    assert sharded_step(NEEDS, ONE_NODE, 8, 4).memory == 20e9 / 8 + 0.5e9 + 0.2e9 + 4e9


def test_a_text_encoder_that_works_in_the_step_is_shared_and_gathered_in_it() -> None:
    needs = replace(NEEDS, encoders=8 * 10**9)
    plain, step = (sharded_step(each, ONE_NODE, 8, 4) for each in (NEEDS, needs))
    assert step.memory - plain.memory == pytest.approx(1e9)
    assert step.traffic - plain.traffic == pytest.approx(7e9)
    whole = sharded_step(needs, ONE_NODE, 1, 4)
    assert (whole.memory, whole.traffic) == (20e9 + 0.5e9 + 4e9 + 8e9, sharded_step(NEEDS, ONE_NODE, 1, 4).traffic)


def test_shards_are_evaluated_by_whole_copies() -> None:
    needs = replace(NEEDS, encoders=8 * 10**9, evaluated=70 * 10**9)
    assert sharded_step(NEEDS, ONE_NODE, 8, 4).evaluation == 0
    assert sharded_step(needs, ONE_NODE, 1, 4).evaluation == 20e9 + 8e9 + 0.5e9
    step = sharded_step(needs, ONE_NODE, 8, 4)
    assert step.evaluation == (20e9 + 8e9) / 8 + 0.5e9 + 70e9 + 8e9
    assert step.memory < 9e9 and not step.fits(ONE_NODE)
    assert sharded_step(replace(needs, evaluated=0), ONE_NODE, 8, 4).fits(ONE_NODE)


@pytest.mark.parametrize("shards", [1, 8])
def test_the_largest_batch_just_fits(shards: int) -> None:
    step = sharded_step(NEEDS, ONE_NODE, shards, 4)
    spare = ONE_NODE.memory * MARGIN - (step.memory - 4 * NEEDS.sample)
    assert step.largest_batch == int(spare // NEEDS.sample)


def test_no_batch_fits_a_small_card() -> None:
    assert sharded_step(NEEDS, Cluster(8, 8, 16 * 10**9), 1, 4).largest_batch == 0


def test_replicas_send_their_gradients_twice_around_a_ring() -> None:
    step = sharded_step(NEEDS, ONE_NODE, 1, 4)
    assert step.traffic == pytest.approx(2 * 7 / 8 * 4e9)
    assert step.seconds == pytest.approx(7e9 / 300e9)


def test_shards_of_a_machine_leave_an_eighth_of_the_gradients_between_machines() -> None:
    step = sharded_step(NEEDS, EIGHT_NODES, 8, 4)
    inside, between = 7 / 8 * (2 * 2e9 + 4e9), 2 * 7 / 8 * 4e9 / 8
    assert step.traffic == pytest.approx(inside + between)
    assert step.seconds == pytest.approx(inside / 300e9 + between / 50e9)


def test_shards_over_machines_send_all_between_them() -> None:
    step = sharded_step(NEEDS, EIGHT_NODES, 64, 4)
    assert step.seconds == pytest.approx(63 / 64 * 8e9 / 50e9)
