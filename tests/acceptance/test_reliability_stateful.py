"""Anything may happen to a run in any order: its newest whole checkpoint is never lost, and it ends where it should."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import pytest
from endurance.forge import Fault, Forge
from endurance.parts import Workshop
from endurance.scenario import differences, overrides, stopped_after
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dit_run.runs.checkpoint.commit import find_damage
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder

pytestmark = pytest.mark.slow

STEPS = {"max_steps": 12}
POINTS = st.integers(1, 160)


class Life(RuleBasedStateMachine):
    """A run and its misfortunes. ``saved`` is the step of the newest whole checkpoint, 0 for none."""

    workshop: Workshop
    reference: Path

    @initialize()
    def begin(self) -> None:
        self.path = self.workshop.fresh("life")
        self.saved = 0
        self.save_steps = 3

    def found(self) -> int:
        """The step of the newest whole checkpoint."""
        if not (self.path / "checkpoints").exists():
            return 0
        newest = Checkpoints(self.path / "checkpoints", RunFolder(self.path).run_id()).newest_valid().path
        return 0 if newest is None else int(newest.name.removeprefix("step-"))

    def command(self, stop: int = 0, fault: Fault = Fault.NONE, point: int = 0, error: int = 0) -> int:
        words = [str(self.workshop.config_file), *overrides(self.path, **STEPS, save_steps=self.save_steps)]
        return (
            self.workshop.forge.start([*words, *stopped_after(stop)], self.path, fault, point, error=error)
            .wait()
            .status
        )

    @rule(after=st.integers(1, 11))
    def train_and_stop(self, after: int) -> None:
        status = self.command(stop=self.saved + after)
        assert status in (0, 143)
        if status == 143:
            assert self.found() == self.saved + after

    @rule(point=POINTS, torn=st.booleans())
    def kill(self, point: int, torn: bool) -> None:
        assert self.command(fault=Fault.TEAR if torn else Fault.KILL, point=point) in (0, -9)

    @rule(point=POINTS, once=st.booleans(), error=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def fill_the_disk(self, point: int, once: bool, error: int) -> None:
        assert self.command(fault=Fault.FAIL_ONCE if once else Fault.FAIL_FROM, point=point, error=error) in (0, 1, 2)

    @precondition(lambda self: len(self.whole()) > 1)
    @rule(file=st.sampled_from(["model", "ema", "optimizer"]), place=st.floats(0, 0.999))
    def corrupt_the_newest(self, file: str, place: float) -> None:
        path = self.whole()[-1] / f"{file}.safetensors"
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1
        path.write_bytes(data)
        self.saved = self.found()

    @precondition(lambda self: len(self.whole()) > 1)
    @rule()
    def prune_the_oldest(self) -> None:
        shutil.rmtree(self.whole()[0])

    @rule(every=st.integers(1, 6))
    def change_how_often_it_saves(self, every: int) -> None:
        self.save_steps = every

    def whole(self) -> list[Path]:
        if not (self.path / "checkpoints").exists():
            return []
        store = Checkpoints(self.path / "checkpoints", RunFolder(self.path).run_id())
        return [path for path in store.paths() if not find_damage(path)]

    @invariant()
    def the_newest_whole_checkpoint_is_there(self) -> None:
        found = self.found()
        assert found >= self.saved
        self.saved = found

    def teardown(self) -> None:
        if hasattr(self, "path"):
            assert self.command() == 0
            assert differences(self.reference, self.path, ignore=["best"]) == []  # it is one of the saved steps


def test_whatever_happens_a_run_ends_where_an_uninterrupted_one_does() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        forge = Forge(folder / "forge")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with forge:
        Life.workshop = Workshop(folder, forge)
        Life.reference = folder / "life-reference"
        words = [str(Life.workshop.config_file), *overrides(Life.reference, **STEPS, save_steps=3)]
        assert forge.start(words, Life.reference).wait().status == 0
        chosen = settings(
            max_examples=5, stateful_step_count=7, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        run_state_machine_as_test(Life, settings=chosen)  # type: ignore[no-untyped-call]
    shutil.rmtree(folder)
