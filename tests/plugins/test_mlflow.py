"""mlflow, with a database for real: one run over several processes, with each step once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dit_run.protocols import LoggedStep, RunEnd
from dit_run_plugins.trackers.mlflow import Mlflow
from dit_run_plugins.trackers.mlflow.tracker import MlflowTracker, build

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def package() -> None:
    """Skip these tests without mlflow. The import is slow, so that no process that only collects them has it."""
    pytest.importorskip("mlflow", exc_type=ImportError)


class Config:
    """What the tracker reads of a config."""

    def to_dict(self) -> dict[str, Any]:
        many = {f"key_{index}": index for index in range(120)}  # more than one request takes
        return {"model": {"hidden_size": 16}, "betas": [0.9, 0.99], "metrics": [{"type": "shapes"}], "many": many}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database whose tables exist: making them is slow."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def tracker(
    folder: Path, uri: str | None, start_step: int = 0, history: tuple[LoggedStep, ...] = (), **options: Any
) -> MlflowTracker:
    folder.mkdir(exist_ok=True)
    chosen = Mlflow(tracking_uri=uri, **options)
    return build(chosen, run_dir=folder, start_step=start_step, config=Config(), history=lambda: history)


def read(folder: Path) -> tuple[Any, Any]:
    """The client, and the run."""
    import mlflow

    record = json.loads((folder / "mlflow.json").read_text())
    client = mlflow.MlflowClient(tracking_uri=record["tracking_uri"])
    return client, client.get_run(record["run_id"])


def values(folder: Path, name: str) -> list[tuple[int, float]]:
    client, run = read(folder)
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def grid(prompts: str) -> Image.Image:
    image = Image.new("RGB", (8, 6), "red")
    image.info["prompts"] = prompts
    return image


def test_values_images_config_and_end_are_in_the_database(tmp_path: Path, database: str) -> None:
    folder = tmp_path / "birds"
    run = tracker(folder, database, experiment="first")
    assert run.command == f"mlflow ui --backend-store-uri {database}"
    run.text(0, "config", "seed: 42")
    run.log(1, {"loss": 0.5, "part (best)": 1.0})
    run.image(2, "samples", grid("a red circle\na blue square"))
    run.log(2, {"loss": 0.25, "validation/loss": 1.0, "validation/loss/part": float("nan")})
    run.end(RunEnd.FINISHED, {"loss": 0.25})
    run.close()
    assert values(folder, "loss") == [(1, 0.5), (2, 0.25)]
    assert values(folder, "part _best_") == [(1, 1.0)]
    client, kept = read(folder)
    assert client.get_experiment(kept.info.experiment_id).name == "first"
    assert (kept.info.status, kept.info.run_name, kept.data.metrics["validation/loss"]) == ("FINISHED", "birds", 1.0)
    params = kept.data.params
    assert (params["model.hidden_size"], params["betas"], params["metrics.0.type"]) == ("16", "0.9, 0.99", "shapes")
    assert params["many.key_119"] == "119"
    files = tmp_path / "mlflow-files" / kept.info.run_id / "artifacts"
    assert (files / "config.yaml").read_text() == "seed: 42"
    assert (files / "samples" / "step-00000002.txt").read_text() == "a red circle\na blue square"
    assert Image.open(files / "samples" / "step-00000002.png").size == (8, 6)


def test_a_continued_run_is_the_same_run_with_each_step_once(tmp_path: Path, database: str) -> None:
    first = tracker(tmp_path, database, name="one")
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step), "rate": 1.0} if step < 3 else {"loss": 3.0})
    first.end(RunEnd.INTERRUPTED, {})
    assert read(tmp_path)[1].info.status == "KILLED"
    grid("a bird").save(tmp_path / "grid.png")
    history = (
        LoggedStep(2, 0.0, {"loss": 2.5, "rate": 1.0}, None),
        LoggedStep(4, 7.0, {"loss": 4.0, "rate": 0.5}, tmp_path / "grid.png"),  # MLflow was out of reach
    )
    second = tracker(tmp_path, database, 4, history, name="two")
    second.log(5, {"loss": 5.5, "rate": 0.25})
    assert read(tmp_path)[1].info.status == "RUNNING"
    second.end(RunEnd.FAILED, {})
    third = tracker(tmp_path, database, 3, history[:1], name="two")
    for step in (4, 5, 6):
        third.log(step, {"loss": step + 0.25})
    third.end(RunEnd.FAILED, {})
    assert values(tmp_path, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.5), (6, 6.25)]
    assert values(tmp_path, "rate") == [(1, 1.0), (2, 1.0), (4, 0.5), (5, 0.25)]
    client, run = read(tmp_path)
    assert (run.info.status, run.info.run_name) == ("FAILED", "one")
    assert [file.path for file in client.list_artifacts(run.info.run_id, "samples")] == ["samples/step-00000004.png"]


def test_a_run_that_begins_again_is_another_run(tmp_path: Path, database: str) -> None:
    ids = []
    for _ in range(2):
        tracker(tmp_path, database).log(1, {"loss": 0.5})
        ids.append(read(tmp_path)[1].info.run_id)
    assert ids[0] != ids[1]


def test_the_database_is_next_to_the_run_folder_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = tracker(tmp_path / "run", None).command
    assert command == f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracker(tmp_path / "run", None).command == "http://tracking:5000"


def test_a_server_out_of_reach_is_an_error_to_try_again_after(tmp_path: Path) -> None:
    run = tracker(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"^MLflow at http://127.0.0.1:9: .*Connection refused"):
        run.log(1, {"loss": 0.5})
