"""Checkpoints that a thread writes while training continues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Command, Run, Train, stopping

ASYNC = ("training.async_save=true", "training.save_steps=1", "training.save_total_limit=2")

WITNESS = """
from dataclasses import dataclass
from pathlib import Path
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Witness:
    \"\"\"Writes down which checkpoints were announced.\"\"\"

class Callback:
    def __init__(self, run_dir):
        self.notes = run_dir.with_name("announced")

    def on_checkpoint_saved(self, progress):
        with self.notes.open("a") as notes:
            notes.write(f"{progress.step} {progress.path.name} {(progress.path / 'MANIFEST.json').exists()}\\n")

@hookimpl
def dit_run_components():
    return [Component(Kind.CALLBACK, "witness", Witness, lambda options, *, run_dir: Callback(run_dir))]
"""


def state(run: Run, step: int) -> dict[str, object]:
    values: dict[str, object] = json.loads(run.file("state.json", step).read_text())
    return {name: value for name, value in values.items() if name != "run_id"}


def test_checkpoints_written_behind_training_are_those_written_at_once(
    train: Train, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "witness.py").write_text(WITNESS)
    watched = (f"plugins=[{tmp_path / 'witness.py'}]", "callbacks=[{type: witness}]")
    behind, at_once = train(*ASYNC, *watched, output="behind"), train(*ASYNC[1:], output="at_once")
    assert behind.checkpoints == at_once.checkpoints
    for step in (int(name.removeprefix("step-")) for name in behind.checkpoints):
        assert behind.learnt(step) == at_once.learnt(step)
        assert state(behind, step) | {"plugins": 0} == state(at_once, step) | {"plugins": 0}
    assert behind.values("loss") == at_once.values("loss")
    told = Path("announced").read_text().splitlines()
    assert told == [f"{step} step-{step:08d} True" for step in range(1, 7)]


@pytest.mark.slow
def test_a_stop_waits_for_the_checkpoint_and_the_run_continues(command: Command, config: Path, train: Train) -> None:
    whole = train(output="whole")
    stopped = command(config, *ASYNC, *stopping(2))
    assert stopped.status == 143, stopped.words
    run = Run(Path("run"))
    assert run.checkpoints == ["step-00000001", "step-00000002"]
    assert stopped.words.count("saved") == 2
    assert command(config, *ASYNC, *stopping(0)).status == 0
    assert run.learnt() == whole.learnt()
