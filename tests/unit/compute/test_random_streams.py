"""Streams: golden values, and that purpose and position alone decide."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_run.compute.random_streams import MAX_SEED, STREAMS_VERSION, Streams, keyed_hash

SEEDS = st.integers(0, MAX_SEED)
POSITIONS = st.integers(0, 2**62)


def test_golden_values_of_version_1():
    streams = Streams(42)
    assert STREAMS_VERSION == 1
    assert keyed_hash("noise") == 0x370359298C8860E5
    assert streams.uniforms("timestep", [0, 1, 2**40]).tolist() == [
        0.9956064820289612,
        0.37905430793762207,
        0.022210538387298584,
    ]
    assert streams.normal("noise", 7, (4,)).tolist() == [
        -0.08340176194906235,
        1.056465744972229,
        -0.863319993019104,
        -0.09288761764764786,
    ]
    assert Streams(MAX_SEED).uniforms("timestep", [5]).tolist() == [0.2632765769958496]


@given(SEEDS, POSITIONS)
def test_a_position_answers_the_same_alone_and_in_company(seed, position):
    streams = Streams(seed)
    together = streams.normals("noise", [3, position, 4], (2, 3))
    assert np.array_equal(together[1], streams.normal("noise", position, (2, 3)))
    assert streams.uniforms("u", [9, position])[1] == streams.uniforms("u", [position])[0]


@given(SEEDS, POSITIONS)
def test_a_longer_draw_begins_with_the_shorter_one(seed, position):
    streams = Streams(seed)
    assert np.array_equal(streams.normal("n", position, (7,))[:5], streams.normal("n", position, (5,)))


@given(SEEDS, POSITIONS)
def test_seed_purpose_and_position_each_change_the_draw(seed, position):
    drawn = Streams(seed).normal("a", position, (8,))
    assert not np.array_equal(drawn, Streams(seed ^ 1).normal("a", position, (8,)))
    assert not np.array_equal(drawn, Streams(seed).normal("b", position, (8,)))
    assert not np.array_equal(drawn, Streams(seed).normal("a", position + 1, (8,)))


def test_uniform_draws_fill_the_unit_interval_and_stay_below_one_in_float32():
    drawn = Streams(0).uniforms("u", range(20_000))
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < 0.001 and 0.999 < drawn.max() < 1
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 1850


def test_normal_draws_of_neighbouring_positions_are_independent():
    drawn = Streams(0).normals("n", range(4000), (16,))
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.05


def test_the_global_generator_is_neither_read_nor_left_changed():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = Streams(3).normal("n", 1, (3,))
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(1)
    assert np.array_equal(Streams(3).normal("n", 1, (3,)), first)


@pytest.mark.slow
def test_another_process_draws_the_same():
    code = "from dit_run.compute.random_streams import Streams; print(Streams(42).uniforms('timestep', [0])[0])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(printed) == Streams(42).uniforms("timestep", [0])[0]


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="a seed is an int in"):
        Streams(seed)
