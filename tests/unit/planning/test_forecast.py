"""Plans: needs worked out from measurements, and splits of an effective batch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_parts import CPU, Parts, assembled

from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.out_of_memory import OutOfMemory
from dit_run.planning.forecast import (
    Cache,
    Lack,
    Measured,
    Pictures,
    Workload,
    best,
    forecast,
    interpolate,
    lacks,
    splits,
)
from dit_run.planning.probe import _Bench, probe
from dit_run.planning.save_timing import saving_seconds
from dit_run.problems import InputError
from dit_run.reporting import Silent
from dit_run.runs.checkpoint.store import CheckpointContents, Checkpoints, Saved, needed_bytes
from dit_run.sampling.pipeline import Pipeline, Request
from dit_run.training.ema import Ema
from dit_run.training.step import EncodedBatch, StepResult, TrainingStep

MEASURED = Measured(
    parameters=100,
    peaks=[(1, 1100.0), (2, 1200.0), (4, 1400.0)],
    passes=[(1, 1.5), (2, 2.0), (4, 3.0)],
    update=0.5,
    data=0.25,
    forward=0.1,
    pictures=Pictures(peaks=[(2, 1300.0), (4, 1500.0)], evaluation=0.01, fixed=0.3),
    encoding=900.0,
    checkpoint=70,
    saving=0.75,
    cache=Cache(size=5000, seconds=40.0),
)
LOAD = Workload(
    batch_size=8, accumulation=2, steps=10, workers=0, kept_checkpoints=3, checkpoints=5,
    validations=2, validation_passes=64, previews=3, preview_pictures=4, scorings=1, scored_pictures=200,
    sampling_steps=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value"), [(1, 1100), (2, 1200), (3, 1300), (4, 1400), (8, 1800), (0, 1000)]
)  # fmt: skip
def test_values_lie_on_the_broken_line_and_beyond(at: int, value: float) -> None:
    assert interpolate(MEASURED.peaks, at) == value


def test_one_point_is_a_level_line() -> None:
    assert interpolate([(4, 7.0)], 9) == 7.0


def test_memory_is_that_of_the_greatest_part() -> None:
    needs = forecast(MEASURED, LOAD)
    assert needs.memory == {"training": 1800, "previews": 1500, "metrics": 6100, "filling the cache": 900}
    assert needs.peak == 6100


def test_time_is_that_of_all_repetitions() -> None:
    needs = forecast(MEASURED, LOAD)
    assert needs.step == 2 * 5.0 + 0.5 + 16 * 0.25
    assert needs.seconds == pytest.approx(
        {
            "filling the cache": 40.0,
            "training": 10 * 14.5,
            "saving": 5 * 0.75,
            "validation": 2 * 64 * 0.1,
            "previews": 3 * 4 * (0.3 + 20 * 0.01),
            "metrics": 200 * 0.5,
        }
    )
    assert needs.total == pytest.approx(sum(needs.seconds.values()))


def test_loading_processes_work_beside_the_training_process() -> None:
    assert forecast(MEASURED, replace(LOAD, workers=2)).step == 10.5
    slow = replace(MEASURED, data=4.0)
    assert forecast(slow, replace(LOAD, workers=2)).step == 16 * 4.0 / 2


@pytest.mark.parametrize(("written", "kept", "size"), [(5, 3, 4 * 70), (2, 3, 2 * 70), (5, None, 5 * 70)])
def test_there_is_one_checkpoint_more_while_an_old_one_goes(written: int, kept: int | None, size: int) -> None:
    load = replace(LOAD, checkpoints=written, kept_checkpoints=kept)
    assert forecast(MEASURED, load).disk == {"cache": 5000, "checkpoint": 70, "checkpoints": size}


def test_what_is_never_done_needs_nothing() -> None:
    load = replace(LOAD, previews=0, scorings=0, validations=0, checkpoints=0)
    needs = forecast(replace(MEASURED, cache=Cache(), encoding=0.0), load)
    assert set(needs.memory) == set(needs.seconds) == {"training"}


def test_splits_make_up_the_same_batch() -> None:
    made = splits(MEASURED, LOAD)
    assert [(split.batch_size, split.accumulation) for split in made] == [(16, 1), (8, 2), (4, 4), (2, 8), (1, 16)]
    assert [split.peak for split in made] == [2600, 1800, 1400, 1200, 1100]
    assert [split.seconds for split in made] == [9 + 4.5, 10 + 4.5, 12 + 4.5, 16 + 4.5, 24 + 4.5]


@pytest.mark.parametrize(
    ("memory", "size"), [(10_000, 16), (2600, 8), (1800 / 0.95, 8), (1800, 4), (1200, 1), (1100, None)]
)
def test_the_quickest_split_that_fits_is_proposed(memory: float, size: int | None) -> None:
    proposal = best(splits(MEASURED, LOAD), LOAD, memory)
    assert (proposal and proposal.batch_size) == size


def test_a_split_that_is_hardly_quicker_is_not_proposed() -> None:
    quick = replace(MEASURED, passes=[(1, 1.0), (2, 1.99)])
    proposal = best(splits(quick, LOAD), LOAD, 1e9)
    assert proposal is not None
    assert proposal.batch_size == LOAD.batch_size


def test_what_does_not_fit_beside_the_steps_is_told_with_what_would() -> None:
    assert not lacks(MEASURED, LOAD, 6100 / 0.95, tried_in=1e9)
    (metrics,) = lacks(MEASURED, LOAD, 6099 / 0.95, tried_in=1e9)
    assert metrics == Lack("metrics", 6100, count=50, most=49)
    previews, metrics = lacks(MEASURED, LOAD, 1499 / 0.95, tried_in=1e9)
    assert (previews.name, previews.count, previews.most, metrics.most) == ("previews", 4, 3, 3)
    assert [(lack.name, lack.most) for lack in lacks(MEASURED, LOAD, 800, tried_in=1e9)] == [
        ("previews", 0), ("metrics", 0), ("filling the cache", 0),
    ]  # fmt: skip


def test_as_many_pictures_as_ran_out_of_memory_do_not_fit_into_as_much() -> None:
    failing = replace(MEASURED, pictures=replace(MEASURED.pictures, failed=4))
    assert [(lack.name, lack.most) for lack in lacks(failing, LOAD, 1e6, tried_in=1e6)] == [
        ("previews", 3), ("metrics", 3),
    ]  # fmt: skip
    assert not lacks(failing, LOAD, 1e6 + 1, tried_in=1e6)


def test_a_tree_of_gradients_takes_powers_of_two_and_memory_for_its_levels() -> None:
    load = replace(LOAD, batch_size=3, accumulation=8, powers_of_two=True)
    made = splits(replace(MEASURED, gradients=7.0), load)
    assert [(split.batch_size, split.accumulation) for split in made] == [(24, 1), (12, 2), (6, 4), (3, 8)]
    assert [split.peak for split in made] == [3400, 2200, 1600 + 7, 1300 + 2 * 7]


def test_a_run_that_a_tree_of_gradients_refuses_is_refused(tmp_path: Path) -> None:
    words = ("training.elastic_exact=true", "training.gradient_accumulation_steps=3", "training.num_threads=1")
    config = assembled(tmp_path, *words).config
    with pytest.raises(InputError, match="needs a power of two of micro-batches a step, and this run has 3"):
        probe(config, device=CPU, reporter=Silent())


def test_a_save_is_tried_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = CheckpointContents({"a": torch.ones(1000, 1000), "b": torch.ones(1000, 1000)}, {}, {}, {})
    written: list[int] = []
    save = Checkpoints.save

    def seen(self: Checkpoints, step: int, contents: CheckpointContents, *, limit: int | None) -> Saved:
        assert tmp_path in self.folder.parents
        written.append(needed_bytes(contents))
        return save(self, step, contents, limit=limit)

    monkeypatch.setattr(Checkpoints, "save", seen)
    assert saving_seconds(contents, tmp_path / "not" / "there") > 0
    monkeypatch.setattr("dit_run.planning.save_timing.MOST_BYTES", 4_000_000)
    assert saving_seconds(contents, tmp_path) > 0
    assert {size // 4_000_000 for size in written} == {1, 2}
    assert not list(tmp_path.iterdir())


def test_pictures_are_tried_until_memory_runs_out(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    monkeypatch.setattr("dit_run.compute.timing.LONG_ENOUGH", 0.0)
    real, most = Pipeline._batch, 4

    def batch(self: Pipeline, request: Request, start: int) -> list[Image.Image]:
        if len(request.prompts) > most:
            raise torch.OutOfMemoryError
        return real(self, request, start)

    monkeypatch.setattr(Pipeline, "_batch", batch)
    pictures = probe(parts.config, device=CPU, reporter=Silent()).measured.pictures
    assert ([count for count, _ in pictures.peaks], pictures.failed) == ([1, 2, 4], 8)
    most = 0
    with pytest.raises(OutOfMemory, match="out of memory drawing one picture; take a smaller model"):
        probe(parts.config, device=CPU, reporter=Silent())


def test_the_average_is_part_of_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    monkeypatch.setattr("dit_run.compute.timing.LONG_ENOUGH", 0.0)
    monkeypatch.setattr(Ema, "update", lambda self, step: time.sleep(0.2))
    update = probe(assembled(tmp_path, "training.use_ema=true").config, device=CPU, reporter=Silent()).measured.update
    assert update >= 0.2


def test_a_footprint_sees_what_was_taken_and_given_back() -> None:
    meter = MemoryMeter(CPU)
    meter.reset()
    before = meter.peak
    block = torch.ones(25_000_000)
    assert meter.peak - before == pytest.approx(100e6, rel=0.05)
    del block
    meter.reset()
    assert meter.peak - before < 20e6
    assert meter.total > meter.peak


def test_pictures_are_drawn_as_many_at_a_time_as_the_run_has() -> None:
    assert LOAD.drawn_at_a_time == {"previews": 4, "metrics": 50}
    assert replace(LOAD, preview_pictures=40, scorings=0).drawn_at_a_time == {"previews": 16}
    assert replace(LOAD, previews=0, scored_pictures=7).drawn_at_a_time == {"metrics": 7}


def test_what_earlier_tries_left_behind_is_not_of_the_next(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    alone = dict(probe(parts.config, device=CPU, reporter=Silent()).measured.peaks)
    kept = []

    def advance(bench: _Bench, size: int) -> None:
        kept.append(torch.ones(25_000_000))
        step(bench, size)

    step = _Bench._advance
    monkeypatch.setattr(_Bench, "_advance", advance)
    found = dict(probe(parts.config, device=CPU, reporter=Silent()).measured.peaks)
    tries = 2  # of each size until its peak is known, which keep 100 MB each and leave them to the next
    for size in found:
        assert found[size] - alone[size] == pytest.approx((1 + tries) * 100e6, abs=60e6)


def test_a_probe_draws_as_many_at_a_time_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    monkeypatch.setattr("dit_run.compute.timing.LONG_ENOUGH", 0.0)
    drawn: list[int] = []
    real = Pipeline._batch

    def batch(self: Pipeline, request: Request, start: int) -> list[Image.Image]:
        images = real(self, request, start)
        drawn.append(len(images))
        return images

    monkeypatch.setattr(Pipeline, "_batch", batch)
    config = assembled(tmp_path, "metrics=[{type: shapes, count: 25}]").config
    measured = probe(config, device=CPU, reporter=Silent()).measured
    assert [count for count, _ in measured.pictures.peaks] == [1, 2, 4, 8, 16, 25]
    assert drawn[:6] == [1, 2, 4, 8, 16, 25]
    assert set(drawn[6:]) == {25}


def test_a_part_of_the_effective_batch_is_tried_beside_another(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    steps = set()

    def run(self: TrainingStep, step: int, micro_batches: Iterable[EncodedBatch], *, count: int) -> StepResult:
        examples = list(micro_batches)
        steps.add((*(len(each.latents) for each in examples), count))
        return real(self, step, examples, count=count)

    real = TrainingStep.run
    monkeypatch.setattr(TrainingStep, "run", run)
    probe(parts.config, device=CPU, reporter=Silent())
    assert steps == {(1, 1, 2), (2, 2, 2), (4, 1)}


def test_a_probe_measures_a_run(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.planning.probe.LONG_ENOUGH", 0.0)
    monkeypatch.setattr("dit_run.compute.timing.LONG_ENOUGH", 0.0)
    found = probe(parts.config, device=CPU, reporter=Silent())
    measured, load = found.measured, found.load
    assert measured.parameters == sum(parameter.numel() for parameter in parts.denoiser.parameters())
    assert [size for size, _ in measured.peaks] == [size for size, _ in measured.passes] == [1, 2, 4]
    assert [count for count, _ in measured.pictures.peaks] == [1, 2, 4, 8, 16]
    assert all(0 < seconds < 10 for seconds in (measured.update, measured.data, measured.forward))
    assert measured.cache == Cache()
    assert (load.batch_size, load.accumulation, load.steps) == (4, 1, 6)
    assert measured.checkpoint > 3 * 4 * measured.parameters
