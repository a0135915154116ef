from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from run_folders import make_run

import dit_run
from dit_run.runs.reading.listing import find_runs


def test_rows_are_ready_for_pandas(tmp_path: Path) -> None:
    lines = [{"step": 100, "loss": 0.5, "shapes/wholly_right": 0.25, "time": 5.0}]
    make_run(tmp_path / "a", lines=lines, best={"loss": 0.4, "step": 80})
    make_run(tmp_path / "deep" / "er" / "b", state="failed", reason="no memory")
    frame = pandas.DataFrame(dit_run.load_runs(tmp_path)).set_index("name")
    assert sorted(frame.index) == ["a", "deep/er/b"]
    assert frame.loc["a", ["state", "step", "total_steps", "loss", "shapes/wholly_right"]].tolist() == [
        "finished",
        100,
        100,
        0.5,
        0.25,
    ]
    assert frame.loc["a", ["best_loss", "best_step", "dataset", "model", "device"]].tolist() == [
        0.4,
        80,
        "shapes",
        "dit",
        "A processor",
    ]
    assert frame.loc["deep/er/b", "reason"] == "no memory"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dit_run.InputError, match="missing is not a folder"):
        dit_run.load_runs(tmp_path / "missing")


def test_loading_rows_imports_no_torch(tmp_path: Path) -> None:
    make_run(tmp_path / "a", grids={1: ["x"]}, lines=[{"step": 1, "loss": 1.0}])
    code = f"import sys, dit_run; dit_run.load_runs({str(tmp_path)!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_links_are_followed_only_within_the_folder(tmp_path: Path) -> None:
    make_run(tmp_path / "outside" / "secret")
    make_run(tmp_path / "runs" / "real")
    (tmp_path / "runs" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs" / "real")
    (tmp_path / "runs" / "round").symlink_to(tmp_path / "runs")
    assert [files.name for files in find_runs(tmp_path / "runs")] == ["real"]


def test_a_run_may_be_the_folder_itself(tmp_path: Path) -> None:
    make_run(tmp_path / "mine")
    assert [files.name for files in find_runs(tmp_path / "mine")] == ["mine"]


@pytest.mark.parametrize(
    "status", ['{"state": "running"', "[]", "", '{"state": 7, "step": "x", "best": [], "time": 3}']
)
def test_a_damaged_status_is_no_error(tmp_path: Path, status: str) -> None:
    run = make_run(tmp_path / "a")
    (run / "status.json").write_text(status)
    assert [row["state"] for row in dit_run.load_runs(tmp_path)] == ["interrupted"]


@pytest.mark.parametrize("config", ["{", "- 1", "", "data: 7\nmodel: [3]\nmetrics: {a: 1}\ntraining: x", "a: &a [*a]"])
def test_a_damaged_config_is_no_error(tmp_path: Path, config: str) -> None:
    make_run(tmp_path / "a", config=config)
    assert [row["dataset"] for row in dit_run.load_runs(tmp_path)] == [""]


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    make_run(tmp_path / "a", state="running", pid=gone.pid)
    make_run(tmp_path / "a $(b)", state="running", pid=gone.pid)
    make_run(tmp_path / "b", state="running", pid=gone.pid, host="another machine")
    rows = {row["name"]: row for row in dit_run.load_runs(tmp_path)}
    assert (rows["a"]["state"], rows["b"]["state"]) == ("killed", "running")
    assert rows["a"]["reason"].endswith(f"dit-run train {tmp_path / 'a'}")
    assert rows["a $(b)"]["reason"].endswith(f"dit-run train '{tmp_path / 'a $(b)'}'")


def test_time_left_ignores_a_pause(tmp_path: Path) -> None:
    times = [0.0, 2.0, 4.0, 5000.0, 5002.0]
    lines = [{"step": 10 * (index + 1), "loss": 1.0, "time": time} for index, time in enumerate(times)]
    make_run(tmp_path / "a", state="running", step=20, lines=lines)
    (row,) = dit_run.load_runs(tmp_path)
    assert (row["step"], row["seconds_left"]) == (50, 50 * 0.2)


def test_a_copied_run_keeps_its_times(tmp_path: Path) -> None:
    make_run(tmp_path / "a", lines=[{"step": 1, "time": 1_767_323_045.5}])
    (row,) = dit_run.load_runs(tmp_path)
    assert (row["started"], row["updated"]) == (1_767_322_800.0, 1_767_323_045.5)


def test_the_length_follows_from_the_logged_epoch(tmp_path: Path) -> None:
    config = "training: {num_epochs: 3, max_steps: null}"
    make_run(tmp_path / "a", config=config, lines=[{"step": 50, "epoch": 0.5}])
    assert dit_run.load_runs(tmp_path)[0]["total_steps"] == 300


def test_rare_values_are_found_far_from_the_end(tmp_path: Path) -> None:
    lines = [{"step": 1, "validation/loss": 0.75}, *({"step": step, "loss": 1.0} for step in range(2, 20_000))]
    make_run(tmp_path / "a", lines=lines)
    assert dit_run.load_runs(tmp_path)[0]["validation/loss"] == 0.75


def test_metrics_that_are_a_link_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text(json.dumps({"step": 7, "loss": 1.0}) + "\n")
    run = make_run(tmp_path / "runs" / "a", step=1)
    (run / "metrics.jsonl").symlink_to(secret)
    (row,) = dit_run.load_runs(tmp_path / "runs")
    assert (row["step"], "loss" in row) == (1, False)
