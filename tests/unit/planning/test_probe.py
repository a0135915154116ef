"""Probes: trials of a run's parts, with a clock and a memory meter that the tests control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_parts import CPU, Parts, assembled

from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.out_of_memory import OutOfMemory
from dit_run.planning.measurements import CacheCost
from dit_run.planning.probe import ProbeResult, probe
from dit_run.planning.save_timing import saving_seconds, waiting_seconds
from dit_run.problems import ConfigError
from dit_run.reporting import Silent
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, needed_bytes
from dit_run.runs.checkpoint.store import Checkpoints, Saved
from dit_run.sampling.pipeline import Pipeline
from dit_run.sampling.sampling_request import SamplingRequest
from dit_run.settings import Config
from dit_run.training.average import Average
from dit_run.training.step import EncodedBatch, StepResult, TrainingStep


@dataclass
class FakeClock:
    """A clock that moves on by some seconds at each reading."""

    tick: float = 0.1
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class FakeMeter(MemoryMeter):
    """A meter of memory that a test takes."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.taken = 1000

    def reset(self) -> None:
        return None

    @property
    def total(self) -> int:
        return 10**9

    @property
    def now(self) -> int:
        return self.taken

    @property
    def peak(self) -> int:
        return self.taken


def probed(config: Config, clock: Callable[[], float] | None = None, meter: MemoryMeter | None = None) -> ProbeResult:
    return probe(config, device=CPU, reporter=Silent(), clock=clock or FakeClock(), meter=meter)


def watch_steps(monkeypatch: pytest.MonkeyPatch, watcher: Callable[[list[EncodedBatch]], None]) -> None:
    """Call ``watcher`` with the micro-batches of each training step."""
    real = TrainingStep.run

    def run(self: TrainingStep, step: int, micro_batches: Iterable[EncodedBatch], *, count: int) -> StepResult:
        batches = list(micro_batches)
        assert len(batches) == count
        watcher(batches)
        return real(self, step, batches, count=count)

    monkeypatch.setattr(TrainingStep, "run", run)


def watch_images(monkeypatch: pytest.MonkeyPatch, watcher: Callable[[int], None]) -> None:
    """Call ``watcher`` with the number of images of each request before they are sampled."""
    real = Pipeline.images

    def images(self: Pipeline, request: SamplingRequest) -> Iterator[Image.Image]:
        assert request.batch_size == len(request.prompts)
        watcher(len(request.prompts))
        return real(self, request)

    monkeypatch.setattr(Pipeline, "images", images)


def test_a_run_that_a_tree_of_gradients_refuses_is_refused(tmp_path: Path) -> None:
    words = ("training.elastic_exact=true", "training.gradient_accumulation_steps=3", "training.num_threads=1")
    with pytest.raises(
        ConfigError, match=r"needs a power of two of micro-batches per step, but gradient_accumulation_steps is 3"
    ):
        probed(assembled(tmp_path, *words).config)


def test_a_save_is_tried_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = CheckpointContents({"a": torch.ones(1000, 1000), "b": torch.ones(1000, 1000)}, {}, {}, {})
    written: list[int] = []
    save = Checkpoints.save

    def seen(self: Checkpoints, step: int, contents: CheckpointContents, *, limit: int | None) -> Saved:
        assert tmp_path in self.folder.parents
        written.append(needed_bytes(contents))
        return save(self, step, contents, limit=limit)

    monkeypatch.setattr(Checkpoints, "save", seen)
    assert saving_seconds(contents, tmp_path / "not" / "there", clock=FakeClock()) == pytest.approx(0.1)
    monkeypatch.setattr("dit_run.planning.save_timing.MOST_BYTES", 4_000_000)
    seconds = saving_seconds(contents, tmp_path, clock=FakeClock())
    assert seconds == pytest.approx(0.1 * needed_bytes(contents) / written[-1])
    assert {size // 4_000_000 for size in written} == {1, 2}
    assert not list(tmp_path.iterdir())


def test_a_save_behind_training_takes_the_time_of_its_copies_and_writes_nothing(tmp_path: Path) -> None:
    contents = CheckpointContents({"a": torch.ones(1000)}, {}, {}, {})
    clock = FakeClock()
    assert waiting_seconds(contents, tmp_path / "not" / "there", behind=True, clock=clock) == pytest.approx(0.1)
    assert clock.now == pytest.approx(0.2)  # one measurement; saves that are written are tried several times
    assert waiting_seconds(contents, tmp_path, behind=False, clock=clock) == pytest.approx(0.1)
    assert clock.now == pytest.approx(0.2 + 3 * 0.2)


def test_images_are_tried_until_memory_runs_out(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 4

    def run_out(count: int) -> None:
        if count > most:
            raise torch.OutOfMemoryError

    watch_images(monkeypatch, run_out)
    sampling = probed(parts.config).measured.sampling
    assert ([count for count, _ in sampling.peaks], sampling.failed) == ([1, 2, 4], 8)
    most = 0
    with pytest.raises(OutOfMemory, match="out of memory sampling one image; take a smaller model"):
        probed(parts.config)


def test_the_average_is_part_of_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, clock = assembled(tmp_path, "training.use_ema=true").config, FakeClock()

    def update(self: Average[Any], step: int) -> None:
        clock.now += 50.0

    without = probed(assembled(tmp_path, "training.use_ema=false").config).measured.update
    monkeypatch.setattr(Average, "update", update)
    assert probed(config, clock).measured.update == pytest.approx(without + 50.0 + clock.tick)


def test_a_meter_sees_what_was_taken_and_given_back() -> None:
    meter = MemoryMeter(CPU)
    meter.reset()
    before = meter.peak
    block = torch.ones(25_000_000)
    assert meter.peak - before == pytest.approx(100e6, rel=0.05)
    del block
    meter.reset()
    assert meter.peak - before < 20e6
    assert meter.total > meter.peak


def test_memory_that_earlier_trials_left_does_not_count(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = FakeMeter()

    def leave_more(batches: list[EncodedBatch]) -> None:
        meter.taken += 100

    watch_steps(monkeypatch, leave_more)
    found = probed(parts.config, meter=meter).measured.peaks
    first, warm_up = 1, 2  # the first step is no trial; each trial has its peak after two steps
    assert found == [(size, 1000 + 100 * (first + warm_up)) for size in (1, 2, 4)]


def test_a_probe_samples_as_many_at_a_time_as_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: list[int] = []
    watch_images(monkeypatch, sampled.append)
    measured = probed(assembled(tmp_path, "metrics=[{type: shapes, count: 25}]").config).measured
    assert [count for count, _ in measured.sampling.peaks] == [1, 2, 4, 8, 16, 25]
    assert sampled[:6] == [1, 2, 4, 8, 16, 25]
    assert set(sampled[6:]) == {25}


def test_a_part_of_the_effective_batch_is_tried_with_another(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: set[tuple[int, ...]] = set()
    watch_steps(monkeypatch, lambda batches: steps.add(tuple(len(batch.latents) for batch in batches)))
    probed(parts.config)
    assert steps == {(1, 1), (2, 2), (4,)}


def test_trials_of_slow_steps_end_early(parts: Parts) -> None:
    assert [size for size, _ in probed(parts.config, FakeClock(tick=1.0)).measured.passes] == [1]


def test_a_probe_measures_a_run(parts: Parts) -> None:
    found = probed(parts.config)
    measured, workload = found.measured, found.workload
    assert measured.parameters == sum(parameter.numel() for parameter in parts.denoiser.parameters())
    assert [size for size, _ in measured.peaks] == [size for size, _ in measured.passes] == [1, 2, 4]
    assert [count for count, _ in measured.sampling.peaks] == [1, 2, 4, 8, 16]
    assert [seconds for _, seconds in measured.passes] == pytest.approx([0.2] * 3)
    assert (measured.update, measured.data) == pytest.approx((0.1, 0.1 / 4))
    assert measured.cache == CacheCost()
    assert (workload.batch_size, workload.accumulation, workload.steps) == (4, 1, 6)
    assert measured.checkpoint > 3 * 4 * measured.parameters


def test_a_probe_leaves_the_process_as_it_was(parts: Parts) -> None:
    before = torch.get_num_threads(), torch.get_rng_state()
    probed(parts.config)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
