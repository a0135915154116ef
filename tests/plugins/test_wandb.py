"""wandb, offline for real: one run over several processes, with each step once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dit_run.problems import InputError
from dit_run.protocols import LoggedStep, RunEnd
from dit_run_plugins.trackers.wandb import Wandb
from dit_run_plugins.trackers.wandb.offline_files import last_step, records
from dit_run_plugins.trackers.wandb.tracker import WandbTracker, build

pytestmark = pytest.mark.slow


class Config:
    """What the tracker reads of a config."""

    def to_dict(self) -> dict[str, Any]:
        return {"model": {"hidden_size": 16}, "seed": 42}


def tracker(folder: Path, start_step: int = 0, history: tuple[LoggedStep, ...] = (), **options: Any) -> WandbTracker:
    folder.mkdir(exist_ok=True)
    chosen = Wandb(**{"mode": "offline", **options})
    return build(chosen, run_dir=folder, start_step=start_step, config=Config(), history=lambda: history)


def grid(prompts: str) -> Image.Image:
    image = Image.new("RGB", (8, 6), "red")
    image.info["prompts"] = prompts
    return image


def read(folder: Path, kind: str) -> list[Any]:
    run_id = json.loads((folder / "wandb.json").read_text())["id"]
    return [getattr(record, kind) for record in records(folder / "wandb", run_id) if record.HasField(kind)]


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    for row in read(folder, "history"):
        values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
        yield {name: value for name, value in values.items() if not name.startswith("_")} | {"step": row.step.num}


@pytest.fixture(autouse=True)
def _no_service_left() -> Iterator[None]:
    """Skip a test without wandb. The import is slow, so that no process that only collects the tests has it."""
    wandb = pytest.importorskip("wandb")
    yield
    wandb.teardown()


def as_if_a_second_ago(folder: Path, name: str) -> None:
    """Rename the files of the last process, whose name is the second in which it began."""
    (last,) = (path for path in folder.glob("wandb/offline-run-*") if len(path.name) > 30)
    last.rename(last.with_name(f"offline-run-{name}-{last.name.rpartition('-')[2]}"))


def test_values_images_config_and_end_are_in_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    run = tracker(folder, project="p", entity="e", group="g", tags=("a", "b"))
    assert run.command == f"wandb sync {folder / 'wandb'}"
    run.text(0, "config", "seed: 42")
    run.log(1, {"loss": 0.5})
    run.image(2, "samples", grid("a red circle\na blue square"))
    run.log(2, {"loss": 0.25, "validation/loss": 1.0})
    run.end(RunEnd.FINISHED, {"loss": 0.25, "shapes/wholly_right": 0.75})
    run.close()
    first, second = rows(folder)
    assert first == {"loss": 0.5, "step": 1}
    picture = {name.removeprefix("samples/"): second.pop(name) for name in list(second) if name.startswith("samples")}
    picture = picture.get("samples", picture)
    assert (picture["caption"], picture["width"], picture["height"]) == ("a red circle\na blue square", 8, 6)
    assert (folder / "wandb" / "latest-run" / "files" / picture["path"]).exists()
    assert second == {"loss": 0.25, "validation/loss": 1.0, "step": 2}
    (opened,) = read(folder, "run")
    assert (opened.project, opened.entity, opened.run_group, list(opened.tags)) == ("p", "e", "g", ["a", "b"])
    assert opened.display_name == "birds"
    config = {item.key: json.loads(item.value_json) for item in opened.config.update}
    assert (config["model"], config["seed"]) == ({"hidden_size": 16}, 42)
    summary = [(item.key, item.value_json) for each in read(folder, "summary") for item in each.update]
    assert ("shapes/wholly_right", "0.75") in summary
    assert [each.exit_code for each in read(folder, "exit")] == [0]


def test_a_continued_run_is_the_same_run_with_each_step_once(tmp_path: Path) -> None:
    first = tracker(tmp_path / "run", name="one")
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step)})
    first.end(RunEnd.INTERRUPTED, {"loss": 3.0})
    first.close()
    grid("a bird").save(tmp_path / "grid.png")
    history = (
        LoggedStep(2, 0.0, {"loss": 2.0}, None),
        LoggedStep(4, 0.0, {"loss": 4.0}, tmp_path / "grid.png"),  # the kill came before W&B had it
    )
    as_if_a_second_ago(tmp_path / "run", "0")
    second = tracker(tmp_path / "run", 4, history, name="one")
    second.log(5, {"loss": 5.5})
    second.close()
    as_if_a_second_ago(tmp_path / "run", "1")
    third = tracker(tmp_path / "run", 2, (LoggedStep(2, 0.0, {"loss": 2.0}, None),), name="one")
    for step in (3, 4, 5, 6):
        third.log(step, {"loss": step + 0.25})
    third.end(RunEnd.FAILED, {})
    third.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path / "run")] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.5), (6, 6.25)
    ]  # fmt: skip
    assert {opened.run_id for opened in read(tmp_path / "run", "run")} == {
        json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    }
    assert [each.exit_code for each in read(tmp_path / "run", "exit")] == [143, 0, 1]


def test_a_run_that_begins_again_is_another_run(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        run = tracker(tmp_path)
        run.log(1, {"loss": 0.5})
        run.close()
        ids.append(json.loads((tmp_path / "wandb.json").read_text())["id"])
    assert ids[0] != ids[1]


def test_what_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    for step in range(1, 400):  # several blocks
        run.log(step, {"loss": float(step), "text": 1e-300})
    run.close()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    run_id, data, steps = json.loads((tmp_path / "wandb.json").read_text())["id"], file.read_bytes(), []
    assert len(data) > 2 * 32768
    for length in range(len(data), 0, -1501):
        file.write_bytes(data[:length])
        steps.append(last_step(tmp_path / "wandb", run_id))
    assert steps[0] == 399
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) > 20


def test_online_without_a_login_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "too short")
    with pytest.raises(InputError, match=r"finds no login for Weights & Biases .*write mode: offline"):
        tracker(tmp_path, mode="online")
