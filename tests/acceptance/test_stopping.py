"""Requests to stop or to save, at any moment: the state is saved at once, and nothing of the run is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hanging
import pytest
from runs import Command, Result, Run, Train

from dit_run.data.splits import split

KEYS = [f"image-{index}" for index in range(hanging.SIZE)]
SPLIT = split(KEYS, seed=42, num_samples=None, train_split=0.7)
TRAINED, HELD_OUT = KEYS[SPLIT.train[5]], KEYS[SPLIT.validation[0]]
WORDS = (
    f"plugins=[{Path(__file__).with_name('hanging.py')}]",
    "data={type: hanging, image_size: 16, train_split: 0.7}",
    "vae={type: hanging}",
    "lr_scheduler={type: hanging}",
    "metrics=[{type: hanging}]",
    "callbacks=[{type: hanging}]",
    "trackers=[{type: hanging}]",
    "validation={every_n_steps: 2, num_samples: 4, metrics_every_n_steps: 2}",
    "sampling.every_n_steps=2",
    "training.save_steps=5",
)
TIMES = ("time", "images_per_second", "tokens_per_second", "memory_gb")


def logged(run: Run) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in run.metrics]


def images(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "samples").iterdir()}


def assert_equal(run: Run, whole: Run) -> None:
    """Assert that a run left all that an uninterrupted one left."""
    assert run.learnt() == whole.learnt()
    assert logged(run) == logged(whole)
    assert images(run) == images(whole)


@pytest.fixture
def whole(train: Train) -> Run:
    return train(*WORDS, output="whole")


@pytest.fixture
def hung(command: Command, config: Path) -> Iterator[Any]:
    """Trains until a place where a signal arrives, and then the component hangs; checks the time of the stop."""

    def run(place: str, signal: str, *words: str, seconds: float = 60) -> Result:
        Path("steps").write_text("")
        Path("hang").write_text(f"{place} {signal} {seconds}")
        result = command(config, *WORDS, *words)
        assert time.time() - float(Path("hung").read_text()) < 5
        return result

    yield run
    assert not Path("hang").exists()


@pytest.mark.parametrize(
    ("place", "step", "left", "words"),
    [
        (TRAINED, None, [], ()),
        pytest.param(TRAINED, None, [], ("training.num_workers=1",), marks=pytest.mark.slow),
        (HELD_OUT, 2, [], ()),
        ("decode", 2, ["validation"], ()),
        ("score", 2, ["validation", "samples"], ()),
        ("callback-2", 2, None, ()),
        ("tracker-3", 3, None, ()),
    ],
    ids=["data", "data in a worker", "validation", "samples", "a metric", "a callback", "a tracker"],
)
def test_a_stop_ends_what_hangs_and_the_rest_is_done_later(
    whole: Run,
    hung: Any,
    command: Command,
    config: Path,
    place: str,
    step: int,
    left: list[str],
    words: tuple[str, ...],
) -> None:
    result = hung(place, "SIGTERM", *words)
    run = Run(Path("run"))
    assert result.status == 143, result.words
    assert run.status["state"] == "interrupted"
    done = run.status["step"]  # a worker reads ahead
    assert run.checkpoints == ([f"step-{done:08d}"] if done else [])
    assert step in (None, run.status["step"])
    if left:
        assert run.status["unfinished"]["done"] == left
    assert command(config, *WORDS, *words).status == 0
    assert_equal(run, whole)
    if left is not None:
        assert Path("steps").read_text().split() == ["1", "2", "3", "4", "5", "6"]


def test_a_stop_before_the_first_step_leaves_nothing(whole: Run, hung: Any, command: Command, config: Path) -> None:
    result = hung("index", "SIGINT")
    assert result.status == 130
    assert "stopped before the first step; the same command continues" in result.words
    assert not Path("run").exists()
    assert command(config, *WORDS).status == 0
    assert_equal(Run(Path("run")), whole)


@pytest.mark.slow
@pytest.mark.parametrize("place", [TRAINED, "encode"])
def test_a_stop_ends_a_cache_that_hangs(hung: Any, train: Train, command: Command, config: Path, place: str) -> None:
    words = ("vae.cacheable=true", "cache.dir=cache")
    assert hung(place, "SIGTERM", *words).status == 143
    assert command(config, *WORDS, *words).status == 0
    assert_equal(Run(Path("run")), train(*WORDS, *words, "cache.dir=other", output="whole"))


@pytest.mark.parametrize(("place", "saved"), [("update-0", []), ("update-5", ["step-00000005"])])
def test_a_stop_gives_up_a_long_step_that_follows_a_checkpoint(
    whole: Run, hung: Any, command: Command, config: Path, place: str, saved: list[str]
) -> None:
    assert hung(place, "SIGTERM").status == 143
    run = Run(Path("run"))
    assert (run.status["step"], run.checkpoints) == (5 * len(saved), saved)
    assert command(config, *WORDS).status == 0
    assert_equal(run, whole)


def test_a_stop_of_the_last_scores_is_no_end(whole: Run, hung: Any, command: Command, config: Path) -> None:
    result = hung("score", "SIGTERM", "validation.metrics_every_n_steps=6")
    assert result.status == 143
    assert "stopped after step 6 of 6; the same command continues" in result.words
    run = Run(Path("run"))
    assert run.checkpoints == ["step-00000005", "step-00000006"]
    assert command(config, *WORDS, "validation.metrics_every_n_steps=6").status == 0
    assert run.status["state"] == "finished"
    assert logged(run)[-1] == logged(whole)[-1]
    assert images(run) == images(whole)


@pytest.mark.parametrize(("signal", "status"), [("SIGHUP", 129), ("SIGUSR2", 143), ("SIGINT", 130)])
def test_other_signals_stop_too(
    whole: Run, hung: Any, command: Command, config: Path, signal: str, status: int
) -> None:
    assert hung("decode", signal).status == status
    assert Run(Path("run")).status["reason"] == f"stopped by {signal}"
    assert command(config, *WORDS).status == 0
    assert_equal(Run(Path("run")), whole)


@pytest.mark.parametrize(("place", "step"), [(HELD_OUT, 2), ("callback-3", 3)])
def test_a_request_to_save_is_met_at_once_and_the_run_continues(whole: Run, hung: Any, place: str, step: int) -> None:
    result = hung(place, "SIGUSR1", seconds=0)
    assert result.status == 0
    run = Run(Path("run"))
    assert run.checkpoints == [f"step-0000000{step}", "step-00000005", "step-00000006"]
    assert result.out.index(f"step-0000000{step}") < result.out.index(f"step {step + (place != HELD_OUT)}/6")
    assert_equal(run, whole)


@pytest.mark.slow
def test_a_run_ends_when_its_hours_are_over_and_continues(train: Train, command: Command, config: Path) -> None:
    whole = train(output="whole")
    result = command(config, "training.max_hours=0.0000001")
    run = Run(Path("run"))
    assert result.status == 143
    assert (run.status["state"], run.status["step"]) == ("interrupted", 1)
    assert run.status["reason"] == "stopped after training.max_hours 1e-07"
    assert command(config).status == 0
    assert run.learnt() == whole.learnt()
