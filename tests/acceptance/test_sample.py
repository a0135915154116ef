"""`dit-run sample`: every flag, the files it writes, and the arguments it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from runs import CONFIG, Command, Result, Run, Train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run; to be left as it is."""
    from dit_run.cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(CONFIG)
    assert main([str(folder / "tiny.yaml"), f"training.output_dir={folder / 'run'}"]) == 0
    return Run(folder / "run")


@pytest.fixture
def sample(command: Command, run: Run, tmp_path: Path) -> Any:
    """Samples into ``tmp_path/images``."""

    def sampled(*words: object, output: str = "images") -> Result:
        return command("sample", "--output", tmp_path / output, run.path, *words)

    return sampled


def image_files(folder: Path) -> list[Path]:
    """In the order of their names, without grids."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("grid"))


def texts(folder: Path, name: str) -> list[str]:
    """Return a metadata entry of each image."""
    return [Image.open(path).text[name] for path in image_files(folder)]  # type: ignore[attr-defined]


def pixels(folder: Path) -> NDArray[np.int64]:
    return np.stack([np.asarray(Image.open(path), np.int64) for path in image_files(folder)])


@pytest.mark.slow
def test_one_image_per_prompt_named_in_their_order(sample: Any, run: Run, tmp_path: Path) -> None:
    prompts = ["a red circle", "a blue square", "a red circle"]
    result = sample(*prompts, "--steps", 2, "--seed", 5)
    folder = tmp_path / "images"
    assert result.status == 0, result.words
    assert [path.name for path in image_files(folder)] == [
        "00000-a-red-circle.png", "00001-a-blue-square.png", "00002-a-red-circle.png"
    ]  # fmt: skip
    assert texts(folder, "prompt") == prompts
    assert texts(folder, "seed") == ["5", "6", "7"]
    assert texts(folder, "run") == [str(run.path)] * 3
    assert texts(folder, "checkpoint") == ["step-00000006"] * 3
    assert Image.open(folder / "grid.png").width > 200
    for path in (*image_files(folder), folder / "grid.png"):
        assert str(path) in result.words


def test_without_prompts_it_samples_the_runs_own(command: Command, run: Run, tmp_path: Path) -> None:
    state = json.loads(run.file("state.json").read_text())
    assert command("sample", run.path, "--output", tmp_path / "own").status == 0
    assert texts(tmp_path / "own", "prompt") == state["prompts"]
    assert len(state["prompts"]) == 3


def test_prompts_come_from_a_file_too(sample: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a green cross\n\n  ein grüner Würfel \n", encoding="utf-8-sig")
    assert sample("first", "--prompts", tmp_path / "prompts.txt").status == 0
    assert texts(tmp_path / "images", "prompt") == ["first", "a green cross", "ein grüner Würfel"]


def test_several_images_per_prompt_follow_one_another(sample: Any, tmp_path: Path) -> None:
    assert sample("one", "two", "--num-images", 2, "--seed", 9).status == 0
    assert texts(tmp_path / "images", "prompt") == ["one", "one", "two", "two"]
    assert texts(tmp_path / "images", "seed") == ["9", "10", "11", "12"]
    first, second = pixels(tmp_path / "images")[:2]
    assert (first != second).any()


def test_nothing_is_overwritten(sample: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "grid.png").write_text("mine")
    sample("a cross", "a square")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    sample("a cross")
    sample("a cross")
    assert all(path.read_bytes() == data for path, data in before.items())
    assert [path.name for path in image_files(folder)] == [
        "00000-a-cross.png", "00001-a-square.png", "00002-a-cross.png", "00003-a-cross.png"
    ]  # fmt: skip
    assert len(list(folder.glob("grid*.png"))) == 4


def test_words_and_flags_come_in_any_order(sample: Any, tmp_path: Path) -> None:
    assert sample("--seed", 3, "one", "--steps", 1, "two", "--", "-three").status == 0
    assert texts(tmp_path / "images", "prompt") == ["one", "two", "-three"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("", "00000-empty.png"), ("../../x/..", "00000-x.png"), ("長" * 200, f"00000-{'長' * 20}.png")],
)
def test_any_prompt_has_a_file_name(sample: Any, tmp_path: Path, prompt: str, name: str) -> None:
    assert sample(prompt).status == 0
    assert [path.name for path in image_files(tmp_path / "images")] == [name]
    assert texts(tmp_path / "images", "prompt") == [prompt]


def test_size_is_height_by_width(sample: Any, tmp_path: Path) -> None:
    assert sample("a cross", "--size", "8x24").status == 0
    assert pixels(tmp_path / "images").shape == (1, 8, 24, 3)


@pytest.mark.parametrize(
    "words",
    [
        ("--steps", 5),
        ("--guidance-scale", 6),
        ("--guidance-scale", 1),
        ("--sampler", "heun"),
        ("--seed", 1),
        ("--negative-prompt", "a blue square"),
        ("--checkpoint", "step-00000003"),
        ("--no-ema",),
    ],
)
def test_each_flag_changes_the_image(sample: Any, tmp_path: Path, words: tuple[object, ...]) -> None:
    plain, changed = sample("a red circle", output="plain"), sample("a red circle", *words, output="changed")
    assert (plain.status, changed.status) == (0, 0), changed.words
    assert (pixels(tmp_path / "plain") != pixels(tmp_path / "changed")).any()


@pytest.mark.slow
def test_previews_are_sampled_with_averaged_weights(command: Command, train: Train, tmp_path: Path) -> None:
    run = train("sampling.every_n_steps=6")
    preview = np.asarray(Image.open(run.path / "samples" / "step-00000006.png"))
    for words, same in ((), True), (("--no-ema",), False):
        assert command("sample", run.path, "--output", tmp_path / str(same), *words).status == 0
        assert np.array_equal(np.asarray(Image.open(tmp_path / str(same) / "grid.png")), preview) == same


def test_the_batch_size_does_not(sample: Any, tmp_path: Path) -> None:
    prompts = ("a red circle", "a blue square to the left of a green cross on a gray background", "a cross")
    sample(*prompts, "--batch-size", 3, output="three")
    sample(*prompts, "--batch-size", 1, output="one")
    assert np.abs(pixels(tmp_path / "three") - pixels(tmp_path / "one")).max() <= 2


def test_a_run_without_an_average_samples_with_its_weights(command: Command, train: Train) -> None:
    path = train("training.use_ema=false", "training.max_steps=1").path
    assert command("sample", path, "a cross").status == 0
    assert [path.name for path in image_files(path / "samples")] == ["00000-a-cross.png"]


def test_it_needs_neither_data_nor_the_place_where_the_run_was(command: Command, train: Train, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.new("RGB", (16, 16), (60 * index, 0, 0)).save(images / f"{index}.png")
        (images / f"{index}.txt").write_text(f"red {index}")
    run = train("data.type=custom", f"data.dataset_path={images}", "training.max_steps=1", "data.train_split=1.0")
    shutil.rmtree(images)
    moved = run.path.rename(tmp_path / "moved")
    result = command("sample", moved, "red 2")
    assert result.status == 0, result.words
    assert texts(moved / "samples", "run") == [str(moved)]


def test_each_prompt_has_its_scale(sample: Any, tmp_path: Path) -> None:
    result = sample("a cross", "a square", "--guidance-scale", "6,1", "--num-images", 2)
    assert result.status == 0, result.words
    assert texts(tmp_path / "images", "guidance_scale") == ["6", "6", "1", "1"]
    sample("a cross", "a cross", "a square", "a square", "--guidance-scale", 6, output="all")
    whole, each = pixels(tmp_path / "all"), pixels(tmp_path / "images")
    assert [int(np.abs(a - b).max()) > 2 for a, b in zip(whole, each, strict=True)] == [False, False, True, True]


def test_guidance_that_was_never_trained_is_refused(command: Command, train: Train) -> None:
    path = train("training.caption_dropout=0", "sampling.guidance_scale=1", "training.max_steps=1").path
    result = command("sample", path, "a cross", "--guidance-scale", 3)
    assert result.status == 2
    assert (
        "guidance_scale 3 does not work with this run: it was trained with training.caption_dropout 0" in result.words
    )
    assert command("sample", path, "a cross").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "16"), "--size takes height x width in pixels, such as 256x384, not '16'"),
        (("--size", "0x16"), "--size takes height x width"),
        (("--size", "18x16"), "height and width must be multiples of 4"),
        (("--sampler", "ddpm"), "this run's scheduler has no sampler 'ddpm'; use one of euler"),
        (("--steps", 0), "sampling needs at least 1 step, not 0"),
        (("--seed", -1), "the sampling seed must be a number from 0"),
        (("--guidance-scale", -1), "the guidance scale must be a number of at least 0"),
        (("--guidance-scale", "2,x"), "--guidance-scale takes a number, or several such as 2,4,4, not '2,x'"),
        (("--guidance-scale", "2,3,4"), "there are 3 guidance scales for 1 images; give one for each"),
        (("--num-images", 0), "--num-images and --batch-size must be at least 1"),
        (("--prompts", "nowhere.txt"), "--prompts nowhere.txt cannot be read"),
        (("--checkpoint", "step-7"), "has no checkpoint 'step-7'; its checkpoints are: step-00000003, step-00000006"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_written(
    sample: Any, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    result = sample("a cross", *words)
    assert result.status == 2
    assert message in result.words
    assert not (tmp_path / "images").exists()


def test_an_empty_file_of_prompts_is_refused(sample: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n  \n")
    result = sample("--prompts", tmp_path / "prompts.txt")
    assert result.status == 2
    assert "holds no prompt; write one prompt per line" in result.words


@pytest.mark.parametrize("output", ["taken", "taken/images"])
def test_an_output_that_cannot_be_a_folder_is_refused(sample: Any, tmp_path: Path, output: str) -> None:
    (tmp_path / "taken").write_text("mine")
    result = sample("a cross", output=output)
    assert result.status == 2
    assert f"--output {tmp_path / output}: {tmp_path / 'taken'} is a file; name a folder" in result.words
    assert (tmp_path / "taken").read_text() == "mine"


def test_one_image_may_have_a_file_of_its_own(sample: Any, tmp_path: Path) -> None:
    result = sample("a cross", output="new/x.png")
    assert result.status == 0, result.words
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.png"]
    assert texts(tmp_path / "new", "prompt") == ["a cross"]
    assert result.out == f"{tmp_path / 'new' / 'x.png'}  a cross\n"
    again = sample("a cross", output="new/x.png")
    assert (again.status, "x.png exists, and nothing is overwritten" in again.words) == (2, True)


@pytest.mark.parametrize(
    ("words", "output", "message"),
    [
        (("one", "two"), "x.png", "is one file for 2 images; name a folder, or sample one image"),
        (("one",), "x.jpg", "images are written as PNG; name a file that ends with .png, or a folder"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    sample: Any, tmp_path: Path, words: tuple[str, ...], output: str, message: str
) -> None:
    result = sample(*words, output=output)
    assert (result.status, message in result.words) == (2, True), result.words
    assert not (tmp_path / output).exists()


@pytest.mark.slow
def test_flags_without_effect_are_noted(sample: Any, command: Command, train: Train, tmp_path: Path) -> None:
    words = ("a cross", "--negative-prompt", "blue")
    note = "note: --negative-prompt has no effect: guidance_scale is 1, which turns guidance off\n"
    assert sample(*words, "--guidance-scale", 1).err == note
    assert sample(*words, "--guidance-scale", 1, "--quiet").err == ""
    assert sample(*words).err == ""
    path = train("training.max_steps=1", "training.use_ema=false").path
    noted = command("sample", path, "a cross", "--no-ema").err
    assert noted == "note: --no-ema has no effect: this run keeps no average of its weights\n"
    assert sample("a cross", "--no-ema").err == ""


@pytest.mark.parametrize(("name", "step"), [("best", ""), ("last", "6"), ("3", "3")])
def test_checkpoints_are_named_by_step_last_and_best(sample: Any, tmp_path: Path, name: str, step: str) -> None:
    result = sample("a cross", "--checkpoint", name)
    assert result.status == 0, result.words
    (used,) = texts(tmp_path / "images", "checkpoint")
    assert used.endswith(step)


def test_a_disk_that_refuses_an_image_is_named(sample: Any, tmp_path: Path) -> None:
    (tmp_path / "images" / ".00001-two.png.partial").mkdir(parents=True)
    result = sample("one", "two")
    assert result.status == 1
    assert "images/.00001-two.png.partial: Is a directory; earlier images are complete" in result.words
    assert (tmp_path / "images" / "00000-one.png").exists()


def test_a_folder_without_a_run_is_refused(command: Command, tmp_path: Path) -> None:
    result = command("sample", tmp_path, "a cross")
    assert result.status == 2
    assert f"{tmp_path} is not a run folder: it has no config.yaml" in result.words


def test_a_run_without_a_checkpoint_is_refused(command: Command, train: Train) -> None:
    path = train("training.max_steps=1").path
    shutil.rmtree(path / "checkpoints")
    result = command("sample", path, "a cross")
    assert result.status == 2
    assert f"{path} has no checkpoint yet" in result.words
