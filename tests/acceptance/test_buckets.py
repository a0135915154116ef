"""Training in buckets, from the command line: the order, stops, workers, processes, checks and plans."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import write_images
from PIL import Image
from runs import Command, stopped_twice, stopping

SHAPES = [(16, 16), (32, 16), (16, 32), (24, 16), (40, 20)]
"""Widths and heights, in turn."""


@pytest.fixture
def words(tmp_path: Path, config: Path) -> tuple[object, ...]:
    """Return the arguments of a run on images of many shapes."""
    write_images(tmp_path / "images", 23, SHAPES)
    data, sizes = f"data={{type: custom, dataset_path: {tmp_path}/images}}", "data.buckets=[16x16,12x24,24x12]"
    return (config, data, sizes, "training.gradient_accumulation_steps=2")


@pytest.mark.slow
def test_stopped_and_continued_it_learns_the_bytes_of_an_uninterrupted_run(
    command: Command, words: tuple[object, ...]
) -> None:
    whole, run = stopped_twice(command, words, 2, 4)
    assert run.learnt() == whole.learnt()
    assert run.values("loss") == whole.values("loss")
    assert run.values("validation/loss_ema") == whole.values("validation/loss_ema")


@pytest.mark.slow
def test_another_size_of_micro_batches_continues_in_another_order(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words, *stopping(3)).status == 143
    split = ("training.batch_size=2", "training.gradient_accumulation_steps=4")
    continued = command(*words, *stopping(99), *split)
    assert continued.status == 0, continued.words
    assert (
        "with data.buckets a micro-batch has one size, so samples come in another order from here on" in continued.words
    )


@pytest.mark.slow
def test_the_start_tells_the_sizes_and_the_loss_by_cropping(command: Command, words: tuple[object, ...]) -> None:
    said = command(*words).words
    assert "3 sizes (height x width) crop " in said
    assert "samples by 24x12: " in said


def test_a_size_that_the_model_does_not_divide_is_refused(command: Command, words: tuple[object, ...]) -> None:
    said = command(*words, "data.buckets=[16x16,12x18]")
    assert said.status == 2
    assert "the size 12x18 of data.buckets has a side that is not a multiple of 4" in said.words


@pytest.mark.parametrize("wrong", ["16", "16x", "[auto]", "[16x0]"])
def test_what_is_no_size_is_refused(command: Command, words: tuple[object, ...], wrong: str) -> None:
    said = command("validate", *words, f"data.buckets={wrong}")
    assert said.status == 2
    assert "data.buckets" in said.words


def test_check_shows_images_of_every_size_with_what_is_cropped(command: Command, words: tuple[object, ...]) -> None:
    checked = command("check", *words, "data.train_split=1.0")
    assert checked.status == 0, checked.words
    with Image.open("check.png") as sheet:
        lines = sheet.text["captions"].splitlines()  # type: ignore[attr-defined]
    shown = [line.partition(" cropped")[0] for line in lines]
    assert [text.partition(",")[0] for text in shown] == ["24x12"] * 5 + ["16x16"] * 5 + ["12x24"] * 5
    assert set(shown) == {"24x12, 0%", "16x16, 0%", "12x24, 0%", "12x24, 25%"}


@pytest.mark.slow
def test_plan_takes_buckets(command: Command, words: tuple[object, ...]) -> None:
    planned = command("plan", *words)
    assert planned.status == 0, planned.words


@pytest.mark.slow
def test_samples_without_a_size_have_one_that_was_trained_on(command: Command, words: tuple[object, ...]) -> None:
    wide = ("data.buckets=[12x20,12x24]", "sampling.every_n_steps=6", "training.output_dir=wide")
    assert command(*words, *wide).status == 0
    assert command("sample", "wide", "image 3", "--steps", "1", "--output", "o.png").status == 0
    assert Image.open("o.png").size == (20, 12)


@pytest.mark.slow
def test_images_of_a_bucket_can_be_sampled(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words).status == 0
    said = command("sample", "run", "image 3", "--size", "12x24", "--steps", "2")
    assert said.status == 0, said.words
    (image,) = Path("run").rglob("*image-3*.png")
    assert Image.open(image).size == (24, 12)
    assert "did not train" not in said.words
    said = command("sample", "run", "image 3", "--size", "20x20", "--steps", "1")
    trained = "note: the run did not train on images of 20x20; it trained on 24x12, 16x16, 12x24"
    assert said.status == 0 and trained in said.words
