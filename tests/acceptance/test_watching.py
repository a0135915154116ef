"""Work that only watches a run: what fails of it ends no run, and what is not done after a step is done later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import tiny_dinov2
from PIL import Image
from runs import Command, Run, Train, as_if_killed_after_saving

PLUGIN = f"plugins=[{Path(__file__).with_name('faulty.py')}]"
DRAWN = "sampling.every_n_steps=3"
TIMES = ("time", "images_per_second", "tokens_per_second", "memory_gb")


def faulty(section: str, words: str = "error: ValueError") -> tuple[str, str]:
    return PLUGIN, f"{section}=[{{type: faulty, {words}}}]"


def logged(run: Run) -> list[dict[str, Any]]:
    """What was logged, without times."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in run.metrics]


def failures(run: Run) -> list[tuple[str, int, int, int]]:
    return [(each["work"], each["step"], each["last_step"], each["times"]) for each in run.status["failures"]]


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("words", "work", "times"),
    [
        (faulty("metrics"), "metrics[0] (faulty)", (6, 6, 1)),
        (faulty("callbacks"), "callback faulty, on_step_end,", (1, 6, 6)),
        (faulty("callbacks", "error: MemoryError, step: 2"), "callback faulty, on_step_end,", (2, 2, 1)),
        (faulty("trackers"), "tracker faulty", (1, 6, 6)),
        (faulty("trackers", "error: OutOfMemoryError, step: 3"), "tracker faulty", (3, 3, 1)),
    ],
    ids=["metric", "callback", "callback without memory", "tracker", "tracker without memory"],
)
def test_a_run_continues_after_a_watcher_failed(
    train: Train, command: Command, config: Path, words: tuple[str, ...], work: str, times: tuple[int, int, int]
) -> None:
    whole = train(output="whole")
    result = command(config, *words)
    run = Run(Path("run"))
    assert result.status == 0, result.words
    assert f"{work} failed after step {times[0]}, and the run continues: " in result.words
    assert "faulty.py" in result.words  # the place
    assert f"the weights are complete, but some work on them failed: {work} failed " in result.words
    assert failures(run) == [(work, *times)]
    assert run.status["state"] == "finished"
    assert run.learnt() == whole.learnt()
    assert logged(run) == logged(whole)


@pytest.mark.slow
def test_a_failure_decides_the_exit_status_only_if_asked(command: Command, config: Path) -> None:
    words = (config, *faulty("metrics"), "training.on_watch_error=fail")
    assert command(*words).status == 1
    assert Run(Path("run")).status["state"] == "finished"
    again = command(*words)
    assert again.status == 1
    assert "finished after 6 steps" in again.words
    assert "metrics[0] (faulty) failed after step 6" in again.words
    assert command(*words[:-1]).status == 0


def test_the_other_metrics_are_computed(command: Command, config: Path) -> None:
    metrics = "metrics=[{type: faulty, error: MemoryError}, {type: faulty}]"
    result = command(config, PLUGIN, metrics)
    assert "metrics[0] (faulty) failed after step 6, and the run continues: out of memory scoring by the metric" in (
        result.words
    )
    assert Run(Path("run")).values("faulty/images") == [2.0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(10):
        Image.new("RGB", (16, 16), (20 * index, 0, 90)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"colour {index}")
    return folder


def test_a_broken_held_out_image_is_no_end(train: Train, command: Command, config: Path, photos: Path) -> None:
    words = (f"data={{type: custom, dataset_path: {photos}, image_size: 16, train_split: 0.7}}", DRAWN)
    whole = train(*words, output="whole")
    for path in photos.glob("*.png"):
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        result = command(config, *words, f"training.output_dir=broken{path.stem}", "sampling.prompts=[a, b]")
        if result.status == 0:
            break
        path.write_bytes(before)  # a training image
    run = Run(Path(f"broken{path.stem}"))
    assert failures(run) == [("validation", 3, 6, 2)]
    assert str(path) in run.status["failures"][0]["error"]
    assert run.learnt() == whole.learnt()
    assert [image.name for image in sorted((run.path / "samples").iterdir())] == [
        "step-00000003.png",
        "step-00000006.png",
    ]


# ----------------------------------------------------------------------------------------------------------- save first


def test_the_checkpoint_is_there_before_anything_watches(command: Command, config: Path) -> None:
    result = command(config, DRAWN, "metrics=[{type: shapes, count: 2}]")
    words = result.out
    for step in (3, 6):
        assert words.index(f"checkpoints/step-0000000{step}") < words.index(f"samples/step-0000000{step}.png")
        assert words.index(f"checkpoints/step-0000000{step}") < words.index(f"step {step}/6")


@pytest.mark.slow
def test_an_error_in_the_loop_loses_no_step(command: Command, config: Path, photos: Path) -> None:
    words = (config, f"data={{type: custom, dataset_path: {photos}, image_size: 16, train_split: 1.0}}")
    more = ("training.batch_size=1", "training.save_steps=100", "training.logging_steps=2", "cache.mode=off")
    whole = command(*words, *more, "training.output_dir=whole")
    assert whole.status == 0, whole.words
    for path in photos.glob("*.png"):
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        result = command(*words, *more)
        path.write_bytes(before)
        run = Run(Path("run"))
        if result.status and run.checkpoints:
            break
    assert (run.status["state"], result.status) == ("failed", 2)
    assert run.checkpoints == [f"step-0000000{run.status['step']}"]
    assert command(*words, *more).status == 0
    assert run.learnt() == Run(Path("whole")).learnt()
    assert logged(run) == logged(Run(Path("whole")))


def test_weights_that_are_not_finite_are_not_saved(command: Command, config: Path) -> None:
    result = command(config, "training.learning_rate=1e30", "optimizer.type=muon", "training.save_steps=100")
    assert result.status == 1, result.words
    assert "nothing was updated or saved" in result.words
    assert Run(Path("run")).checkpoints == []


def test_too_few_images_for_a_distance_are_refused_before_training(
    command: Command, config: Path, photos: Path, tmp_path: Path
) -> None:
    eye = tiny_dinov2(tmp_path / "eye")
    words = f"data={{type: custom, dataset_path: {photos}, image_size: 16, train_split: 0.95}}"
    result = command(config, words, f"metrics=[{{type: kernel_distance, pretrained_model_name: {eye}, count: 4}}]")
    assert result.status == 2
    assert (
        "metrics (kernel_distance): the distance needs at least 2 held-out images to compare with, and there is 1 "
        "(data.train_split 0.95)" in result.words
    )
    assert not Path("run").exists()


# ---------------------------------------------------------------------------------------------- killed while watching


@pytest.mark.slow
def test_what_a_kill_left_undone_is_done_after_the_resume(
    train: Train, command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (DRAWN, "metrics=[{type: shapes, count: 2}]", "validation.metrics_every_n_steps=3")
    whole, run = train(*words, output="whole"), train(*words)
    as_if_killed_after_saving(run, 3)
    assert command(config, *words).status == 0
    assert run.learnt() == whole.learnt()
    assert logged(run) == logged(whole)
    assert run.status["best"] == whole.status["best"]
    for image in (whole.path / "samples").iterdir():
        assert (run.path / "samples" / image.name).read_bytes() == image.read_bytes()


@pytest.mark.slow
def test_what_was_done_before_a_kill_is_not_done_again(train: Train, command: Command, config: Path) -> None:
    run = train(DRAWN)
    as_if_killed_after_saving(run, 3)
    status = json.loads((run.path / "status.json").read_text())
    (run.path / "status.json").write_text(json.dumps({**status, "watched": 3}))
    assert command(config, DRAWN).status == 0
    assert [line["step"] for line in run.metrics] == [1, 2, 4, 5, 6]
    assert [image.name for image in (run.path / "samples").iterdir()] == ["step-00000006.png"]


@pytest.mark.slow
def test_the_best_checkpoint_is_known_after_a_resume(train: Train, command: Command, config: Path) -> None:
    words = ("training.save_steps=1", "training.save_total_limit=2", "validation.every_n_steps=1")
    whole = train(*words, output="whole")
    stop = faulty("callbacks", "signal: SIGTERM, step: 3, once: stopped")
    assert command(config, *words, *stop).status == 143
    assert command(config, *words, *stop).status == 0
    run = Run(Path("run"))
    assert run.status["best"] == whole.status["best"]
    assert run.checkpoints == whole.checkpoints


# ---------------------------------------------------------------------------------------------------- files that wait

BLOCKED = """
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Blocked:
    '''A file in the place of the folder of samples.'''
    until: int = 0
    '''The step after which it is removed; 0 for never.'''

class Callback:
    def __init__(self, options, run_dir):
        self.until, self.place = options.until, run_dir / "samples"
    def on_train_start(self, progress): self.place.write_text("")
    def on_sample(self, progress): print("shown", progress.path.name)
    def on_step_end(self, progress):
        if progress.step == self.until: self.place.unlink()

@hookimpl
def dit_run_components():
    return [Component(Kind.CALLBACK, "blocked", Blocked, lambda options, *, run_dir: Callback(options, run_dir))]
"""


@pytest.fixture
def blocked(tmp_path: Path) -> str:
    (tmp_path / "blocked.py").write_text(BLOCKED)
    return f"plugins=[{tmp_path / 'blocked.py'}]"


def test_the_last_grid_is_written_when_the_disk_comes_back(command: Command, config: Path, blocked: str) -> None:
    last = "sampling.every_n_steps=6"
    assert command(config, last, "training.output_dir=whole").status == 0
    result = command(config, last, blocked, "callbacks=[{type: blocked, until: 6}]")
    assert result.status == 0
    assert "the samples cannot be written (" in result.words
    assert result.words.count("shown step-00000006.png") == 1
    assert "run/samples/step-00000006.png note: look at it" in result.words  # the newest image
    grid = "samples/step-00000006.png"
    assert Path("run", grid).read_bytes() == Path("whole", grid).read_bytes()


def test_a_grid_that_is_never_written_is_told(command: Command, config: Path, blocked: str) -> None:
    result = command(config, DRAWN, blocked, "callbacks=[{type: blocked}]")
    assert result.status == 0
    assert result.words.count("the samples cannot be written (") == 1
    assert result.words.count("the last samples are not written; dit-run sample makes images of the checkpoints") == 1
    assert "newest image" not in result.words
