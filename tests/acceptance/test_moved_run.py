"""A run whose folder, data or encoder moved; data and encoders that changed where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from builders import tiny_clip
from PIL import Image
from runs import Command, Run, Train, advised, stopping

from dit_run.runs.run_folder import RunFolder

pytestmark = pytest.mark.slow

STOP = stopping(2)


def images(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", (16, 16), (40 * index, 0, 0)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"colour {index}")
    return folder


def data(path: object) -> str:
    return f"data={{type: custom, dataset_path: {path}, image_size: 16, train_split: 1.0}}"


@pytest.fixture
def whole(train: Train, tmp_path: Path) -> Run:
    images(tmp_path / "images")
    return train(data("images"), output="whole")


@pytest.fixture
def stopped(whole: Run, command: Command, config: Path) -> Run:
    assert command(config, data("images"), *STOP).status == 143
    return Run(Path("run").absolute())


@pytest.mark.parametrize("spelling", ["{0}/images", "./images/", "sub/../images", "link"])
def test_data_spelt_in_another_way_are_the_same(
    stopped: Run, whole: Run, command: Command, config: Path, spelling: str
) -> None:
    Path("sub").mkdir()
    Path("link").symlink_to("images")
    result = command(config, data(spelling.format(config.parent)))
    assert result.status == 0, result.words
    assert stopped.learnt() == whole.learnt()


def test_data_in_another_place_are_the_same(stopped: Run, whole: Run, command: Command, config: Path) -> None:
    Path("images").rename("elsewhere")
    assert command(config, data("elsewhere")).status == 0
    assert stopped.learnt() == whole.learnt()


@pytest.mark.parametrize(
    ("change", "numbers"),
    [
        ("rm 3.png 3.txt", "there were 6 training samples, and there are 5 (1 removed)"),
        ("cp 0.png 7.png; cp 0.txt 7.txt", "there were 6 training samples, and there are 7 (1 added)"),
        ("echo new > 2.txt; echo new > 4.txt", "and there are 6 (2 changed in their captions or numbers)"),
        ("mv 1.png 8.png; mv 1.txt 8.txt", "and there are 6 (1 added, 1 removed)"),
    ],
)
def test_other_data_in_the_same_place_are_refused_with_numbers(
    stopped: Run, command: Command, config: Path, change: str, numbers: str
) -> None:
    for line in change.split("; "):
        _edit(Path("images"), line)
    before = stopped.everything()
    result = command(config, data("images"))
    assert result.status == 2
    assert f"{stopped.path} holds a run on other data or encoders: data: " in result.words
    assert numbers in result.words
    assert stopped.everything() == before

    assert command(*advised(result)).status == 0
    assert Run(Path("run-2")).status["state"] == "finished"


def _edit(folder: Path, line: str) -> None:
    verb, *names = line.split()
    match verb:
        case "rm":
            for name in names:
                (folder / name).unlink()
        case "cp":
            shutil.copy(folder / names[0], folder / names[1])
        case "mv":
            (folder / names[0]).rename(folder / names[1])
        case "echo":
            (folder / names[-1]).write_text(names[0])


def test_without_the_index_the_numbers_of_samples_are_known(stopped: Run, command: Command, config: Path) -> None:
    RunFolder(stopped.path).sample_index.unlink()
    (Path("images") / "2.txt").write_text("new")
    result = command(config, data("images"))
    assert result.status == 2
    assert "data: there were 6 training samples, and there are 6 Restore them" in result.words


def test_changed_pixels_are_not_other_data(stopped: Run, command: Command, config: Path) -> None:
    Image.new("RGB", (16, 16), "blue").save("images/0.png")
    assert command(config, data("images")).status == 0


def test_an_encoder_may_move_and_not_change(train: Train, command: Command, config: Path) -> None:
    tiny_clip(Path("clip"), seed=0)
    tiny_clip(Path("other"), seed=1)

    def encoder(path: str) -> tuple[str, ...]:
        return (f"text_encoder={{type: clip, pretrained_model_name: {path}}}",)

    whole = train(*encoder("clip"), output="whole")
    assert command(config, *encoder("clip"), *STOP).status == 143
    refused = command(config, *encoder("other"))
    assert refused.status == 2
    assert "text_encoder: the weights of the text encoder are not those that the run was begun with" in refused.words
    Path("clip").rename("moved")
    assert command(config, *encoder("moved")).status == 0
    assert Run(Path("run")).learnt() == whole.learnt()


# ------------------------------------------------------------------------------------------------------- its folder


@pytest.mark.parametrize("words", [("train", "{}"), ("{}",), ("{}/config.yaml",), ("train", "{}/config.yaml")])
def test_a_moved_run_continues_by_its_folder(
    stopped: Run, whole: Run, command: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    moved = stopped.path.rename(tmp_path / "moved")
    result = command(*(word.format(moved) for word in words))
    assert result.status == 0, result.words
    assert Run(moved).learnt() == whole.learnt()
    assert not stopped.path.exists()


def test_a_copied_config_continues_the_copy(stopped: Run, whole: Run, command: Command, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stopped.path, tmp_path / "copy"))
    before = stopped.everything()
    result = command("train", "copy/config.yaml")
    assert result.status == 0, result.words
    assert f"copy is the run folder, because this config lies in it, and not {stopped.path}" in result.words
    assert Run(copy).learnt() == whole.learnt()
    assert stopped.everything() == before


def test_a_run_continues_in_its_folder_from_within(
    stopped: Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stopped.path)
    assert command("train", ".").status == 0
    assert stopped.status["state"] == "finished"
    assert not (stopped.path / "run").exists()


def test_where_a_run_goes_can_still_be_written(stopped: Run, command: Command) -> None:
    before = stopped.everything()
    assert command("train", stopped.path, "training.output_dir=second").status == 143
    assert command("train", stopped.path, "--fresh", "third").status == 143
    assert [Run(Path(name)).status["step"] for name in ("second", "third")] == [2, 2]
    assert stopped.everything() == before


def test_python_continues_a_folder_too(stopped: Run, whole: Run, tmp_path: Path) -> None:
    import dit_run

    moved = stopped.path.rename(tmp_path / "moved")
    assert dit_run.train(moved).path == moved
    assert Run(moved).learnt() == whole.learnt()


def test_a_config_next_to_something_else_is_a_config(command: Command, config: Path) -> None:
    Path("project/checkpoints").mkdir(parents=True)
    Path("project/provenance.json").write_text(json.dumps({"what": "a box of old tapes"}))
    config.rename("project/config.yaml")
    assert command("project/config.yaml", "training.max_steps=1").status == 0
    assert Run(Path("run")).status["state"] == "finished"


def test_a_folder_without_a_run_is_refused(command: Command, config: Path) -> None:
    Path("empty").mkdir()
    result = command("train", "empty")
    assert result.status == 2
    assert "cannot read empty/config.yaml: the file does not exist" in result.words
    written = "write a config for them: dit-run init empty -o mine.yaml"
    assert f"empty is not a run folder; if it has images, {written}" in result.words
