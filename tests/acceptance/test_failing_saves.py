"""Checkpoints that cannot be written: training continues, reports it, and ends where nothing would be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Command, Run, Train

BLOCKER = """
import os
import signal
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Blocker:
    \"\"\"A file in the place of the checkpoints' folder.\"\"\"
    first: int
    \"\"\"The step from which on it is there.\"\"\"
    last: int = 100
    \"\"\"The last step at which it is there.\"\"\"
    stop: int = 0
    \"\"\"The step at which the run is asked to stop.\"\"\"

class Callback:
    def __init__(self, options, run_dir):
        self.options, self.folder, self.away = options, run_dir / "checkpoints", run_dir / "away"

    def on_step_end(self, progress):
        if progress.step == self.options.first - 1:  # callbacks follow the checkpoint of their step
            self.folder.rename(self.away)
            self.folder.write_text("")
        if progress.step == self.options.last:
            self.folder.unlink()
            self.away.rename(self.folder)
        if progress.step == self.options.stop:
            os.kill(os.getpid(), signal.SIGTERM)

@hookimpl
def dit_run_components():
    return [Component(Kind.CALLBACK, "blocker", Blocker, lambda options, *, run_dir: Callback(options, run_dir))]
"""


@pytest.fixture
def blocked(tmp_path: Path) -> tuple[str, ...]:
    """Words for a run that saves at every step."""
    (tmp_path / "blocker.py").write_text(BLOCKER)
    return f"plugins=[{tmp_path / 'blocker.py'}]", "training.save_steps=1"


@pytest.mark.slow
def test_training_continues_and_reports_failing_saves(
    train: Train, command: Command, config: Path, blocked: tuple[str, ...]
) -> None:
    whole = train(output="whole")
    result = command(config, *blocked, "callbacks=[{type: blocker, first: 2, last: 3}]")
    assert result.status == 0
    assert result.words.count("training continues, earlier checkpoints are untouched") == 2
    assert Run(Path("run")).learnt() == whole.learnt()


def test_after_three_failures_in_a_row_it_gives_up(command: Command, config: Path, blocked: tuple[str, ...]) -> None:
    result = command(config, *blocked, "callbacks=[{type: blocker, first: 2}]")
    assert result.status == 1
    assert "checkpoints" in result.err
    run = Run(Path("run"))
    assert (run.status["state"], run.status["step"]) == ("failed", 4)
    assert [path.name for path in (run.path / "away").iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("words", ["{first: 6}", "{first: 3, stop: 3}"], ids=["the end", "a stop"])
def test_what_would_be_lost_is_a_failure_at_once(
    command: Command, config: Path, blocked: tuple[str, ...], words: str
) -> None:
    result = command(config, *blocked, f"callbacks=[{{type: blocker, {words[1:-1]}}}]")
    assert result.status == 1
    assert Run(Path("run")).status["state"] == "failed"


def test_a_save_that_torchrun_would_cut_off_is_told_once(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "and torchrun kills its processes 0s after a signal to stop: start torchrun with --shutdown-timeout"
    assert told not in command(config, "training.output_dir=alone").words
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "0")
    assert command(config).words.count(told) == 1  # of two saves
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    assert "torchrun kills" not in command(config, "training.output_dir=patient").words
