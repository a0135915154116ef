"""Profiles: shares of a run's time, and the sentence about its bottleneck."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_parts import CPU

from dit_run.compute.timing import operations
from dit_run.training.profile import BEFORE_TRACE, TRACED_STEPS, Profile, verdict
from dit_run.training.step_timer import PHASES, StepTimer, timed

SHARES = {
    "data": 0.02, "encode": 0.03, "forward": 0.3, "backward": 0.6, "optimizer": 0.04, "other": 0.01,
    "share_of_peak": 0.62,
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return Profile(CPU, tmp_path / "profile", peak=1024.0, steps=1000)


def run(profile: Profile, steps: int, first: int = 1) -> None:
    """Steps with a product of 2 · 8 · 16 · 4 = 1024 operations in each of two forward passes."""
    left, right = torch.ones(8, 16), torch.ones(16, 4)
    for step in range(first, first + steps):
        for name in ("data", "encode", *["forward", "backward"] * 2, "optimizer"):
            with profile.phase(name):  # type: ignore[arg-type]
                left @ right
        profile.step(step)


def test_shares_make_up_the_whole(profile: Profile) -> None:
    run(profile, 4)
    values = profile.read(1e6)
    assert set(values) == {f"profile/{name}" for name in (*PHASES, "other", "share_of_peak")}
    assert sum(value for name, value in values.items() if name != "profile/share_of_peak") == pytest.approx(1.0)
    assert values["profile/other"] > 0.9


def test_the_share_of_the_peak_is_that_of_the_forward_passes_times_three(profile: Profile) -> None:
    run(profile, 5)
    assert profile.read(1e6)["profile/share_of_peak"] == pytest.approx(4 * 2 * 3 / 1e6, rel=0.01)


def test_a_reading_without_a_measured_step_says_nothing(profile: Profile) -> None:
    run(profile, 1)
    assert not profile.read(1.0)
    assert "too short" in profile.close()


def test_a_few_steps_are_traced_with_their_phases(profile: Profile) -> None:
    run(profile, BEFORE_TRACE + TRACED_STEPS)
    assert profile.trace is not None
    assert profile.trace.name == "step-00000008.json"
    events = json.loads(profile.trace.read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [names.count(name) for name in PHASES] == [3, 3, 6, 6, 3]


def test_traced_steps_count_for_nothing(profile: Profile) -> None:
    run(profile, BEFORE_TRACE)
    profile.read(1.0)
    run(profile, TRACED_STEPS, first=BEFORE_TRACE + 1)
    assert not profile.read(1.0)


def test_steps_before_the_trace_count_only_where_there_are_no_others(profile: Profile) -> None:
    run(profile, BEFORE_TRACE + TRACED_STEPS + 2)
    values = profile.read(1e6)
    assert values["profile/share_of_peak"] == pytest.approx(2 * 2 * 3 / 1e6, rel=0.01)


def test_a_counted_step_runs_eagerly_to_its_end_and_one_that_compiles_counts_for_nothing(profile: Profile) -> None:
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        compiled.append(graph)
        return graph

    torch._dynamo.reset()
    square = torch.compile(lambda values: values @ values, backend=backend)
    for step, graphs in ((1, 0), (2, 1), (3, 1)):
        for name in ("forward", "backward"):
            with profile.phase(name):  # type: ignore[arg-type]
                square(torch.ones(8, 8))
        profile.step(step)
        assert len(compiled) == graphs
    assert profile.read(1e6)["profile/share_of_peak"] == pytest.approx(1 * 3 / 1e6, rel=0.01)


@pytest.mark.parametrize(("steps", "traced"), [(3, 1), (4, 2), (5, 3), (7, 3)])
def test_a_short_run_is_traced_at_its_end(tmp_path: Path, steps: int, traced: int) -> None:
    short = Profile(CPU, tmp_path, peak=1024.0, steps=steps)
    run(short, steps)
    assert "step-" in short.close()
    assert short.trace == tmp_path / f"step-{steps:08d}.json"
    events = json.loads(short.trace.read_text())["traceEvents"]
    assert [event["name"] for event in events if event.get("cat") == "user_annotation"].count("data") == traced


def test_a_run_that_is_stopped_while_it_is_traced_has_a_trace(profile: Profile) -> None:
    run(profile, BEFORE_TRACE + 1)
    profile.close()
    assert profile.trace is not None
    assert profile.trace.name == "step-00000006.json"


@pytest.mark.parametrize("steps", [1, 2, BEFORE_TRACE])
def test_without_a_trace_the_reason_is_said(profile: Profile, steps: int) -> None:
    run(profile, steps)
    assert f"no trace: it begins after {BEFORE_TRACE} steps, and there were {steps}" in profile.close()
    assert profile.trace is None


def test_a_trace_that_finds_no_place_does_not_end_the_run(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("")
    run(profile, BEFORE_TRACE + TRACED_STEPS + 1)
    assert "step-00000008.json cannot be written: File exists" in profile.close()


def test_the_end_says_where_the_trace_is(profile: Profile) -> None:
    run(profile, BEFORE_TRACE + TRACED_STEPS + 1)
    profile.read(1.0)
    assert str(profile.trace) in profile.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data", "the loader bounds the run: 40% of the time is spent waiting for data; raise training.num_workers"),
        ("encode", "encoding bounds the run: it takes 40% of the time"),
        ("optimizer", "the optimizer bounds the run: it takes 40% of the time"),
        ("other", "40% of the time is between the phases"),
    ],
)
def test_a_large_part_other_than_the_model_bounds_a_run(name: str, words: str) -> None:
    assert words in verdict({**SHARES, name: 0.4})


def test_else_the_model_bounds_it() -> None:
    assert verdict(SHARES) == (
        "the model bounds the run: forward and backward take 90% of the time, and the whole reaches 62% of the "
        "device's peak of matrix products"
    )


def test_timed_items_are_the_items() -> None:
    assert list(timed(range(5), StepTimer(), "data")) == [0, 1, 2, 3, 4]
    assert list(timed([], StepTimer(), "data")) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_counts_whatever_kernel_it_takes(dtype: torch.dtype) -> None:
    """Two products of 2 · batch · heads · queries · keys · width each."""
    query, key = torch.ones(2, 3, 5, 8, dtype=dtype), torch.ones(2, 3, 7, 8, dtype=dtype)
    with operations() as counter:
        torch.nn.functional.scaled_dot_product_attention(query, key, key)
    assert counter.get_total_flops() == 2 * 2 * 2 * 3 * 5 * 7 * 8
