"""What cannot work is refused by name, with exit status 2, and nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import tiny_taesd
from PIL import Image
from runs import Command, Result, Run, Train

CUSTOM = ("data.type=custom", "data.dataset_path=images", "data.train_split=1.0")


@pytest.fixture
def images(config: Path) -> Path:
    """Four captioned images, in the layout of `custom`."""
    folder = config.parent / "images"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (20, 16), (60 * index, 0, 0)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"red {index}")
    return folder


@pytest.fixture
def refused(command: Command, config: Path) -> Callable[..., Result]:
    """Trains what cannot be trained: the status is 2 and no run folder is left."""

    def result(*words: object) -> Result:
        said = command(config, *words)
        assert said.status == 2, said.words
        assert "Traceback" not in said.words
        assert not Path("run").exists()
        return said

    return result


Refused = Callable[..., Result]


def test_a_dataset_path_that_is_not_there(refused: Refused) -> None:
    assert (
        "data.dataset_path: images does not exist; set it to the folder that holds the data" in refused(*CUSTOM).words
    )


BUSY = """
import time

import torch

from dit_run import Component, Kind, hookimpl
from dit_run.problems import InputError
from dit_run_plugins.datasets.shapes import Shapes
from dit_run_plugins.vaes.identity import Identity


def vae(options):
    while True:
        torch.ones(10) + 1


def dataset(options, *, image_size):
    time.sleep(0.2)
    raise InputError("there is no data")


@hookimpl
def dit_run_components():
    return [Component(Kind.VAE, "busy", Identity, vae), Component(Kind.DATASET, "absent", Shapes, dataset)]
"""


@pytest.mark.slow
def test_missing_data_end_the_command_while_weights_are_being_loaded(config: Path) -> None:
    """The interpreter's end would tear the thread that loads them out of native code, and abort."""
    Path("busy.py").write_text(BUSY)
    words = ("train", str(config), "plugins=[busy.py]", "vae.type=busy", "data.type=absent")
    ended = subprocess.run([sys.executable, "-m", "dit_run", *words], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "error: there is no data\n")


@pytest.mark.parametrize("kind", ["coco", "cub", "custom"])
def test_an_empty_dataset(refused: Refused, kind: str) -> None:
    Path("images").mkdir()
    said = refused(f"data.type={kind}", "data.dataset_path=images").words
    assert "data.dataset_path: images has " in said


def test_a_caption_file_that_names_a_missing_image(refused: Refused, images: Path) -> None:
    lines = [{"file_name": f"{index}.png", "text": "red"} for index in (0, 9, 1)]
    (images / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = refused(*CUSTOM).words
    assert "images/metadata.jsonl names the image 9.png, which is not in images (data.dataset_path)" in said


def test_an_image_without_a_caption(refused: Refused, images: Path) -> None:
    (images / "2.txt").unlink()
    assert "images/2.png has no caption: write it to 2.txt in the same folder" in refused(*CUSTOM).words


@pytest.fixture
def encoded(images: Path) -> tuple[str, ...]:
    """Overrides under which pictures are encoded before the run begins."""
    weights = tiny_taesd(images.parent / "taesd")
    return (
        *CUSTOM, "vae.type=autoencoder_tiny", f"vae.pretrained_model_name={weights}", "model.patch_size=1",
        "model.in_channels=4", "model.out_channels=4",
    )  # fmt: skip


@pytest.mark.slow
def test_an_image_that_is_none_under_a_cached_vae(refused: Refused, images: Path, encoded: tuple[str, ...]) -> None:
    (images / "2.png").write_text("no image")
    said = refused(*encoded).words
    assert "images/2.png" in said
    assert "data.on_bad_sample=skip" in said


def test_an_image_that_is_none_in_pixel_space(command: Command, config: Path, images: Path) -> None:
    """It is found on the way: the run fails, holds nothing half done, and goes on when the image is mended."""
    good = (images / "2.png").read_bytes()
    (images / "2.png").write_text("no image")
    said = command(config, *CUSTOM)
    assert said.status == 2
    assert "images/2.png" in said.words
    assert "data.on_bad_sample=skip" in said.words
    run = Run(Path("run"))
    assert (run.status["state"], run.checkpoints) == ("failed", [])
    assert "images/2.png" in run.status["reason"]
    (images / "2.png").write_bytes(good)
    assert command(config, *CUSTOM).status == 0
    assert run.status["state"] == "finished"


@pytest.mark.slow
def test_a_bad_image_is_skipped_where_that_is_asked_for(
    command: Command, config: Path, images: Path, encoded: tuple[str, ...]
) -> None:
    (images / "2.png").write_text("no image")
    for words in (CUSTOM, (*encoded, "training.output_dir=second")):
        said = command(config, *words, "data.on_bad_sample=skip")
        assert said.status == 0, said.words
        assert "2.png" in said.words


def test_an_unknown_type(refused: Refused) -> None:
    said = refused("optimizer.type=adamv").words
    assert "adamv" in said
    assert "did you mean 'adamw'" in said
    assert "optimizer.type=adamv" in said


def test_weights_of_another_shape(train: Train, refused: Refused) -> None:
    first = train(output="first")
    said = refused(f"training.init_from={first.path}", "model.hidden_size=32").words
    assert f"the weights in {first.file('')} (training.init_from) do not fit the model of this config: " in said
    assert "left out because of another shape: " in said
    assert "condition.second.weight [16, 16] -> [32, 32]" in said


def test_a_start_that_is_no_run(refused: Refused) -> None:
    said = refused("training.init_from=nowhere").words
    assert "training.init_from is nowhere, which is neither a run folder with a checkpoint, a checkpoint, an" in said


@pytest.mark.parametrize(("kind", "section", "channels"), [("autoencoder_kl", "vae", 4), ("clip", "text_encoder", 3)])
def test_weights_that_are_not_there(refused: Refused, kind: str, section: str, channels: int) -> None:
    for name in ("nobody/nothing", "./nowhere"):
        said = refused(
            f"{section}.type={kind}", f"{section}.pretrained_model_name={name}", f"model.in_channels={channels}",
            f"model.out_channels={channels}",
        ).words  # fmt: skip
        assert name.removeprefix("./") in said
        assert f"{section}.pretrained_model_name" in said


def test_a_picture_size_that_no_latent_fits(refused: Refused, encoded: tuple[str, ...]) -> None:
    said = refused(*encoded, "data.image_size=24", "model.patch_size=2").words
    assert "data.image_size is 24, not a multiple of 16" in said


def test_channels_that_are_not_the_latents(refused: Refused) -> None:
    said = refused("model.in_channels=4", "model.out_channels=4").words
    assert "model.in_channels is 4, but the latents of VAE identity have 3 channels" in said


def test_a_run_folder_that_is_a_file(command: Command, config: Path) -> None:
    Path("run").write_text("mine")
    said = command(config)
    assert said.status == 2
    assert "training.output_dir" in said.words
    assert Path("run").read_text() == "mine"


def test_a_run_folder_that_another_process_has(command: Command, config: Path) -> None:
    from dit_run.runs.run_folder import RunFolder

    with RunFolder(Path("run")).lock():
        said = command(config)
    assert said.status == 2
    assert "is in use by process " in said.words


def test_a_device_that_is_not_there(refused: Refused) -> None:
    assert "training.device is cuda:7, but torch sees " in refused("training.device=cuda:7").words


def test_a_cache_that_cannot_be(refused: Refused) -> None:
    said = refused("cache.mode=required").words
    assert "cache.mode is required, but " in said


@pytest.mark.parametrize(("word", "meant"), [("smaple", "sample"), ("validat", "validate"), ("explian", "explain")])
def test_a_misspelt_command(command: Command, config: Path, word: str, meant: str) -> None:
    said = command(word, "run", "a cross")
    assert said.status == 2
    assert said.words == f"error: there is no command and no config {word!r}; did you mean: dit-run {meant}"


def test_a_config_may_be_called_like_a_misspelt_command(command: Command, config: Path) -> None:
    assert command(config.rename("smaple"), "training.max_steps=1").status == 0


@pytest.mark.parametrize("words", [("check",), ("plan",), ("cache",), ("diff", "configs/small.yaml")])
def test_whoever_takes_the_packaged_config_says_so(command: Command, config: Path, words: tuple[str, ...]) -> None:
    """What follows is refused, so that nothing is computed here."""
    said = command(*words, "configs/small.yaml", *(["data.dataset_path=nowhere"] if words[0] != "diff" else []))
    assert said.status == (0 if words[0] == "diff" else 2), said.words
    assert "configs/small.yaml does not exist here; using the one that comes with dit-run" in said.words


def test_a_file_that_cannot_be_written(command: Command, config: Path) -> None:
    said = command("schema", "-o", "tiny.yaml/schema.json")
    assert said.status == 1
    assert said.words == "error: tiny.yaml: File exists (-v shows where)"
    assert "Traceback" in command("schema", "-v", "-o", "tiny.yaml/schema.json").err


@pytest.mark.slow
@pytest.mark.parametrize("words", [("schema",), ("explain", "tiny.yaml"), ("plugins",)])
def test_an_output_that_cannot_be_written(config: Path, words: tuple[str, ...]) -> None:
    """Whether the output is long or fits into a buffer."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dit_run", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("output", ["nowhere/check.png", "."])
def test_a_contact_sheet_that_has_no_place(command: Command, config: Path, output: str) -> None:
    said = command("check", config, "--output", output)
    assert said.status == 2
    assert said.words == f"error: --output {output} cannot be written; name a file in an existing folder"


@pytest.mark.parametrize("word", ["--nonsense", "model.hidden_sizes=3", "nonsense"])
def test_words_that_mean_nothing(refused: Refused, word: str) -> None:
    assert word.partition("=")[0] in refused(word).words
