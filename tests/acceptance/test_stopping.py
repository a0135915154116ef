"""Requests to stop or to save, at any moment: the state is saved at once, and nothing of the run is lost."""

from __future__ import annotations

from pathlib import Path

from runs import Command, Run, Train

FAULTY = Path(__file__).with_name("faulty.py")
WATCHED = ("sampling.every_n_steps=2", "validation.every_n_steps=2", "validation.metrics_every_n_steps=2")


def test_a_run_ends_when_its_hours_are_over_and_continues(train: Train, command: Command, config: Path) -> None:
    whole = train(output="whole")
    result = command(config, "training.max_hours=0.0000001")
    run = Run(Path("run"))
    assert result.status == 143
    assert (run.status["state"], run.status["step"]) == ("interrupted", 1)
    assert run.status["reason"] == "stopped after training.max_hours 1e-07"
    assert command(config).status == 0
    assert run.learnt() == whole.learnt()
