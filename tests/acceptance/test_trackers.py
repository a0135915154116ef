"""Trackers of a run that is killed, continued and finished: each step once; a service out of reach stops nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from forks import Forks
from runs import STOPPER, Command, Run, stopping

GRIDS = "sampling.every_n_steps=3"


def killed_and_continued(forks: Forks, command: Command, config: Path, *words: str) -> Run:
    """A run that was killed after step 5, continued from step 3 and finished after step 6."""
    killed = forks.run(config, GRIDS, *words, *stopping(5, "SIGKILL"))
    assert killed.statuses == (-9,), killed.output
    result = command(config, GRIDS, *words)
    assert (result.status, "failed" in result.words) == (0, False), result.words
    return Run(Path("run").absolute())


def losses(run: Run) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in run.metrics]


@pytest.mark.slow
def test_csv_has_each_step_once_after_a_kill(forks: Forks, command: Command, config: Path) -> None:
    run = killed_and_continued(forks, command, config, "trackers=[{type: csv}]")
    with (run.path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == losses(run)
    assert [row["validation/loss"] != "" for row in rows] == [False, False, True, False, False, True]


@pytest.mark.slow
def test_wandb_has_each_step_once_after_a_kill(forks: Forks, command: Command, config: Path) -> None:
    pytest.importorskip("wandb")
    from dit_run_plugins.trackers.wandb.offline_files import records

    run = killed_and_continued(forks, command, config, "trackers=[{type: wandb, mode: offline}]")
    run_id = json.loads((run.path / "wandb.json").read_text())["id"]
    kept = list(records(run.path / "wandb", run_id))
    rows: list[dict[str, Any]] = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in kept
        if record.HasField("history")
    ]
    assert [(row["_step"], row["loss"]) for row in rows] == losses(run)
    assert [row["_step"] for row in rows if any(name.startswith("samples") for name in row)] == [3, 6]
    assert [record.exit.exit_code for record in kept if record.HasField("exit")] == [0]


@pytest.mark.slow
def test_mlflow_has_each_step_once_after_a_kill(forks: Forks, command: Command, config: Path) -> None:
    mlflow = pytest.importorskip("mlflow", exc_type=ImportError)
    run = killed_and_continued(forks, command, config, "trackers=[{type: mlflow, experiment: birds}]")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{run.path.parent / 'mlflow.db'}")
    (kept,) = client.search_runs([client.get_experiment_by_name("birds").experiment_id])
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "run")
    assert [(m.step, m.value) for m in client.get_metric_history(kept.info.run_id, "loss")] == losses(run)
    assert len(client.list_artifacts(kept.info.run_id, "samples")) == 4  # two grids, each with its prompts


@pytest.mark.slow
def test_a_service_out_of_reach_is_reported_once_and_stops_nothing(
    forks: Forks, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow", exc_type=ImportError)
    trackers = "trackers=[{type: wandb}, {type: mlflow, tracking_uri: 'http://127.0.0.1:9'}]"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    ended = forks.run(config, trackers)
    said = " ".join(ended.output.split())
    assert ended.statuses == (0,), said
    for name in ("wandb", "mlflow"):
        assert said.count(f"the {name} tracker's output cannot be written (") == 1
        assert said.count(f"the {name} tracker's output lacks what was logged last") == 1
    assert Run(Path("run")).status["state"] == "finished"


ENDING = """
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Ending:
    '''Writes how the run ended.'''

class Tracker:
    command = ""
    def __init__(self, run_dir): self.run_dir = run_dir
    def log(self, step, values): pass
    def image(self, step, name, image): self.prompts = image.info["prompts"]
    def text(self, step, name, text): pass
    def flush(self): pass
    def end(self, state, values):
        with (self.run_dir / "ends").open("a") as file: file.write(f"{state} {values.get('loss', 'none')}\\n")
    def close(self): pass

@hookimpl
def dit_run_components():
    return [Component(Kind.TRACKER, "ending", Ending, lambda options, *, run_dir: Tracker(run_dir))]
"""


@pytest.mark.slow
def test_a_tracker_learns_how_its_run_ended(command: Command, config: Path) -> None:
    Path("ending.py").write_text(ENDING)
    words = (config, f"plugins=[ending.py, {STOPPER}]", "trackers=[{type: ending}]")
    assert command(*words, "callbacks=[{type: stopper, after: 4}]").status == 143
    assert command(*words).status == 0
    run = Run(Path("run"))
    at_4, at_6 = (run.metrics[step - 1]["loss"] for step in (4, 6))
    assert (run.path / "ends").read_text() == f"interrupted {at_4}\nfinished {at_6}\n"
    failing = ("training.output_dir=bad", "training.learning_rate=1e30", "optimizer.type=muon")
    assert command(*words, *failing).status == 1
    assert Path("bad/ends").read_text().startswith("failed ")
