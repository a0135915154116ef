"""Saves at once and in a thread: their bytes, their announcement and their failures."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from dit_run import load_config
from dit_run.compute.distributed import Processes
from dit_run.reporting import Silent
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, load_checkpoint
from dit_run.runs.checkpoint.commit import SaveFailed
from dit_run.runs.checkpoint.store import Checkpoints, Saved
from dit_run.runs.run_folder import RunFolder
from dit_run.training.saving import RunFacts, Saver, saves_behind
from dit_run.training.state import TrainState


@dataclass
class Slow(Checkpoints):
    """Checkpoints that are written once they may be."""

    allowed: threading.Event = field(default_factory=threading.Event)
    full: bool = False

    def save(self, *given: Any, **named: Any) -> Saved:
        assert self.allowed.wait(30)
        if self.full:
            raise SaveFailed("the disk is full")
        return super().save(*given, **named)


@dataclass
class Notices(Silent):
    """Keeps what it is told."""

    told: list[str] = field(default_factory=list)

    def notice(self, text: str) -> None:
        self.told.append(text)


class Facts(SimpleNamespace):
    """A checkpoint with one weight."""

    def contents(self, state: Any) -> CheckpointContents:
        return CheckpointContents({"w": state.weight}, {"state": {0: {"m": state.weight}}}, {"best": {}}, {})


class State(SimpleNamespace):
    """A state with one weight."""

    def __init__(self) -> None:
        super().__init__(weight=torch.arange(4.0), step=1, best={}, evaluation=SimpleNamespace(shown=_shown))


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    yield


Make = Callable[..., Saver]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    (tmp_path / "tiny.yaml").write_text("{}")
    config = load_config(tmp_path / "tiny.yaml", "data={type: shapes}")

    def saver(behind: bool = True, room: int = 1 << 30) -> Saver:
        folder = RunFolder(tmp_path / "run")
        return Saver(
            cast(RunFacts, Facts(config=config)),
            Slow(folder.checkpoints, "one"),
            folder,
            Processes(),
            Notices(),
            behind=behind,
            available=lambda: room,
        )

    return saver


def begin(saver: Saver, state: State, **named: Any) -> None:
    saver.begin(cast(TrainState, state), **named)


def slow(saver: Saver) -> Slow:
    assert isinstance(saver.checkpoints, Slow)
    return saver.checkpoints


def told(saver: Saver) -> list[str]:
    assert isinstance(saver.reporter, Notices)
    return saver.reporter.told


def saved(path: Path) -> tuple[Tensor, Tensor]:
    contents = load_checkpoint(path)
    return contents.model["w"], contents.optimizer["state"][0]["m"]


def test_training_continues_while_a_thread_writes_the_state_of_its_step(make: Make) -> None:
    saver, state = make(), State()
    begin(saver, state)
    state.weight.zero_()
    state.step = 2
    assert saver.settle() is None
    slow(saver).allowed.set()
    done = saver.settle(wait=True)
    assert done is not None and (done.step, done.path.name) == (1, "step-00000001")
    assert all(torch.equal(values, torch.arange(4.0)) for values in saved(done.path))
    assert saver.settle(wait=True) is None


def test_the_last_save_is_written_on_return(make: Make) -> None:
    saver, state = make(), State()
    slow(saver).allowed.set()
    begin(saver, state, last=True)
    done = saver.settle()
    assert done is not None and saved(done.path)[0].tolist() == [0, 1, 2, 3]


def test_failed_writes_are_reported_and_the_third_ends_the_run(make: Make) -> None:
    saver, state = make(), State()
    slow(saver).allowed.set()
    slow(saver).full = True
    for step in (1, 2):
        state.step = step
        begin(saver, state)
        assert saver.settle(wait=True) is None
    assert told(saver) == ["the disk is full; training continues, earlier checkpoints are untouched"] * 2
    begin(saver, state)
    with pytest.raises(SaveFailed, match="the disk is full"):
        saver.settle(wait=True)


def test_a_written_checkpoint_forgets_earlier_failures(make: Make) -> None:
    saver, state = make(), State()
    slow(saver).allowed.set()
    for step, full in enumerate((True, True, False, True, True), start=1):
        state.step, slow(saver).full = step, full
        begin(saver, state)
        assert (saver.settle(wait=True) is None) == full
    assert [path.name for path in saver.checkpoints.paths()] == ["step-00000003"]


def test_without_room_for_copies_training_waits_and_says_so_once(make: Make) -> None:
    saver, state = make(room=1000), State()
    slow(saver).allowed.set()
    for step in (1, 2):
        state.step = step
        begin(saver, state)
        assert saver.settle() is not None
    (line,) = told(saver)
    assert line.startswith("training waits for each checkpoint while it is written")
    assert line.endswith("needs a copy of 1.0 MB, and the host has 1 kB of memory left")


@pytest.mark.parametrize(
    ("wanted", "device", "behind"),
    [("auto", "cuda", True), ("auto", "cpu", False), (True, "cpu", True), (False, "cuda", False)],
)
def test_checkpoints_are_written_behind_a_gpu_or_where_the_config_says_so(
    wanted: bool | str, device: str, behind: bool
) -> None:
    assert saves_behind(wanted, torch.device(device)) is behind
