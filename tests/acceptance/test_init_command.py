"""`dit-run init` and `dit-run data`: a config from a folder of images, and what its data hold."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import Command, Result

TINY = ("model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "text_encoder.width=8")
FAST = ("sampling.every_n_steps=null", "sampling.steps=2", "validation.num_samples=4", "training.num_workers=0")
SMALL_BATCH = ("training.batch_size=2", "training.gradient_accumulation_steps=1")
"""Fewer batch sizes to try."""
SHORT = ("training.max_steps=2", "training.device=cpu", *FAST, "sampling.num_images=2")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def image(number: int, size: tuple[int, int] = (0, 0)) -> Image.Image:
    width, height = size if size[0] else (40 + 8 * (number % 4), 40)
    pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def images(folder: Path, count: int = 30, *, captions: bool = True) -> Path:
    folder.mkdir()
    for number in range(count):
        image(number).save(folder / f"{number:02}.png")
        if captions:
            (folder / f"{number:02}.txt").write_text(f"image {number}\nthe image of number {number}\n")
    return folder


def listed(folder: Path) -> Path:
    images(folder, 12, captions=False)
    rows = [json.dumps({"file_name": f"{number:02}.png", "text": f"image {number}"}) for number in range(12)]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


def shard(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for file in sorted(images(path.parent / "unpacked", 12).iterdir()):
            archive.add(file, file.name)
    return path


def table(path: Path) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'dit-run[parquet]'")
    from parquet_files import encoded, write_parquet

    columns = {"image": [encoded(image(n)) for n in range(12)], "text": [f"image {n}" for n in range(12)]}
    return write_parquet(path, columns, group=4)


def trains(command: Command, place: Path, *given: str) -> tuple[Result, str]:
    """Write a config for a place, and use it as it is: validate, check, train."""
    made = command("init", place, *TINY, *SHORT, *given)
    assert made.status == 0, made.words
    assert command("validate", "config.yaml").status == 0
    checked = command("check", "config.yaml")
    assert "Traceback" not in checked.err and checked.status in (0, 1), checked.words
    done = command("config.yaml")
    assert done.status == 0, done.words
    return made, Path("config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "type_"),
    [
        (lambda: listed(Path("own")), "custom # images that metadata.jsonl lists"),
        (lambda: shard(Path("own.tar")), "webdataset # tar shards"),
        (lambda: table(Path("own.parquet")), "parquet # parquet files"),
    ],
    ids=["metadata", "tar", "parquet"],
)
def test_the_written_config_trains_as_it_is(command: Command, make: Callable[[], Path], type_: str) -> None:
    _, text = trains(command, make(), *SMALL_BATCH)
    assert f"  type: {type_}\n" in text


@pytest.mark.slow
def test_each_line_has_its_reason(command: Command) -> None:
    made, text = trains(command, images(Path("own")))
    assert "  type: custom # a folder of images\n" in text
    assert "  buckets: auto # squares would crop " in text
    assert "  max_steps: 2 # given on the command line\n" in text
    assert "  batch_size: " in text and "# by plan: " in text
    assert "next: dit-run data config.yaml" in made.words


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "type_"), [("coco_subset", "coco"), ("cub_subset", "cub"), ("emoji", "custom")])
def test_real_data_train_as_they_are(command: Command, shared_data: Path, folder: str, type_: str) -> None:
    _, text = trains(command, shared_data / folder, *SMALL_BATCH)
    assert f"  type: {type_} # " in text


def unknown(path: Path) -> Path:
    path.write_text("a recipe")
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (
            lambda: Path("nowhere"),
            "nowhere does not exist; name a folder or file with images and captions, or a dataset on the Hub",
        ),
        (lambda: empty(Path("own")), "the folder own is empty; name the folder that holds your images and captions"),
        (lambda: images(Path("own"), 3, captions=False), "own/00.png has no caption: write it to 00.txt"),
        (lambda: unknown(Path("own.docx")), "the file own.docx has no images in a layout that dit-run knows"),
        (lambda: unknown(Path("own.tar")), "cannot read the shard own.tar"),
    ],
)
def test_data_that_cannot_be_used_are_an_error(command: Command, make: Callable[[], Path], error: str) -> None:
    said = command("init", make())
    assert said.status == 2, said.words
    assert error in said.words
    assert not Path("config.yaml").exists()


def test_two_layouts_are_a_choice_of_the_user(command: Command) -> None:
    folder = empty(Path("both"))
    shard(folder / "a.tar")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "captions_x.json").write_text("{}")
    said = command("init", folder)
    assert said.status == 2
    assert "both has several layouts: MS-COCO captions of x (data.type=coco); tar shards (data.type=webdataset)" in (
        said.words
    )


def test_an_existing_config_is_not_replaced(command: Command) -> None:
    Path("config.yaml").write_text("mine")
    said = command("init", "anything")
    assert said.status == 2
    assert "config.yaml exists already; name another file with -o FILE, or replace it with --force" in said.words
    assert Path("config.yaml").read_text() == "mine"


@pytest.mark.slow
def test_images_that_cannot_be_used_are_left_out_with_a_reason(command: Command) -> None:
    folder = images(Path("own"), 12)
    (folder / "03.png").write_bytes(b"no image")
    (folder / "05.txt").unlink()
    Path("config.yaml").write_text("old")
    said = command("init", folder, *TINY, *SHORT, *SMALL_BATCH, "--force")
    assert said.status == 0, said.words
    text = Path("config.yaml").read_text()
    assert "  on_bad_sample: skip # leaves out 1 x image without a caption, 1 unreadable, such as 03.png\n" in text
    assert "10; height x width from 40x40 to 40x64" in said.words
    assert command("config.yaml").status == 0


def test_data_shows_what_deserves_a_look(command: Command, config: Path) -> None:
    folder = images(Path("own"), 8)
    image(2).save(folder / "07.png")
    (folder / "01.png").write_bytes(b"no image")
    (folder / "03.txt").unlink()
    (folder / "lost.txt").write_text("a text alone")
    (folder / "04.txt").write_text("word " * 100)
    image(9, (16, 64)).save(folder / "05.png")
    said = command("data", config, "data={type: custom, dataset_path: own}", "data.image_size=16", "--output", "s.png")
    assert said.status == 0, said.words
    for line in (
        "unreadable: 1 (the pixels of 7 images were read, and the header of all)",
        "repeated: 1 02.png, 07.png",
        "1 image without a caption, such as 03.png",
        "1 text without an image, such as lost.txt",
        "captions 13; 1 to 2 per image",
        "1 are longer and cut",
        "by image at most 75%",
    ):
        assert line in said.words, (line, said.out)
    with Image.open("s.png") as sheet:
        assert sheet.width > 1000 and sheet.height > 600
