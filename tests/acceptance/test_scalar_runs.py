"""Numbers of samples that a model takes: from tables and from images, in training, in sampling and in a mixture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import Command, Run, stopping

import dit_run

NAMES = "model.scalars=[score, original_width, crop_left]"


def write_folder(folder: Path, scores: list[object]) -> None:
    folder.mkdir()
    rows = []
    for number, score in enumerate(scores):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 20 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"image {number}", "score": score})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def words(tmp_path: Path, config: Path) -> tuple[object, ...]:
    write_folder(tmp_path / "images", [number / 2 for number in range(12)])
    return (config, "data={type: custom, dataset_path: images}", NAMES)


@pytest.mark.slow
def test_a_run_with_scalars_continues_byte_for_byte_and_other_scores_are_refused(
    command: Command, words: tuple[object, ...]
) -> None:
    assert command(*words, "training.output_dir=whole").status == 0
    stopped = (*words, *stopping(4))
    assert command(*stopped).status == 143
    metadata = Path("images/metadata.jsonl")
    before = metadata.read_text()
    metadata.write_text(before.replace('"score": ', '"score": 1'))
    refused = command(*stopped)
    assert refused.status == 2 and "data: there were" in refused.words
    metadata.write_text(before)
    assert command(*stopped).status == 0
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()


@pytest.mark.slow
def test_other_scores_learn_other_weights(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words).status == 0
    write_folder(Path("others"), [5.0] * 12)
    assert command(*words, "data.dataset_path=others", "training.output_dir=run2").status == 0
    assert Run(Path("run")).learnt() != Run(Path("run2")).learnt()


def test_images_are_sampled_with_the_means_or_with_given_numbers(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words, "sampling.every_n_steps=6").status == 0
    opened = dit_run.load_run("run")
    means = json.loads((opened.checkpoint / "state.json").read_text())["scalars"]
    assert set(means) == {"score"} and 0 < means["score"] < 5.5

    def pixels(**scalars: float) -> bytes:
        (image,) = opened.sample(["image 3"], steps=2, scalars=scalars)
        return image.tobytes()

    assert pixels() == pixels(score=means["score"]) == pixels(crop_left=0, original_width=16)
    assert len({pixels(), pixels(score=50), pixels(original_width=2000), pixels(crop_left=300)}) == 4
    (image,) = opened.sample(["x"], steps=1, scalars={"score": 2})
    assert image.info["scalars"] == "score=2 original_width=16 crop_left=0"
    exported = dit_run.load_run(opened.export("exported"))
    assert exported.sample(["image 3"], steps=2)[0].tobytes() == pixels()
    said = command("sample", "run", "image 3", "--steps", "2", "--scalar", "score=50", "--output", "one.png")
    assert said.status == 0, said.words
    assert Image.open("one.png").tobytes() == pixels(score=50)
    set_in_config = dit_run.load_run("run", "sampling.scalars=[score=50]")
    assert set_in_config.sample(["image 3"], steps=2)[0].tobytes() == pixels(score=50)


def test_wrong_scalars_of_sampling_are_refused(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words).status == 0
    for wrong, said in (
        ("weight=1", "this run's model takes no scalar 'weight'; it takes score, original_width, crop_left"),
        ("score", "--scalar takes a name and a number"),
        ("score=high", "--scalar takes a name and a number"),
        ("score=nan", "the scalar 'score' must be a finite number"),
        ("score=1e39", "the scalar 'score' must be a finite number in float32, not 1e+39"),
        ("score=1 score=2", "--scalar gives score twice: 1 and 2"),
    ):
        given = [word for text in wrong.split() for word in ("--scalar", text)]
        result = command("sample", "run", "x", *given)
        assert result.status == 2 and said in result.words, result.words
    unknown = command("validate", *words, "sampling.scalars=[weight=1]")
    assert unknown.status == 2 and "sampling.scalars gives 'weight', which model dit does not take" in unknown.words
    twice = command("validate", *words, "model.scalars=[score, score]", "sampling.scalars=[score=1, score=2]")
    assert twice.status == 2
    assert "model.scalars names 'score' twice" in twice.words and "sampling.scalars names 'score' twice" in twice.words


def test_scalars_that_data_lack_or_that_are_no_numbers_are_named(command: Command, words: tuple[object, ...]) -> None:
    said = command(*words, "model.scalars=[beauty]")
    assert said.status == 2 and "no sample of the data has it. Add a column 'beauty'" in said.words
    write_folder(Path("gaps"), [1.0, None, 2.0, None])
    said = command(*words, "data.dataset_path=gaps")
    assert said.status == 2 and "2 of 4 samples do not have it, such as " in said.words
    write_folder(Path("words"), [1.0, "good"])
    said = command(*words, "data.dataset_path=words")
    assert said.status == 2 and "'score' must be a number, because model.scalars names it, not 'good'" in said.words


@pytest.mark.slow
def test_check_plan_and_a_mixture_take_scalars(command: Command, words: tuple[object, ...]) -> None:
    mixed = "data={type: mixture, parts: [{type: custom, dataset_path: images}, {type: shapes, size: 30}]}"
    said = command(*words, mixed)
    assert said.status == 2 and "30 of 42 samples do not have it" in said.words
    of_images = "model.scalars=[original_height, crop_top]"
    for name in ("check", "plan"):
        assert command(name, *words).status == 0
    assert command(*words, mixed, of_images, "data.crop=random", "data.random_flip=true").status == 0
    assert command("explain", words[0], "--cost", "model.scalars=[a]").status == 0
