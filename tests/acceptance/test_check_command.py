"""`dit-run check`: is everything connected?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl
from PIL import Image
from runs import Command


def findings(out: str) -> dict[str, str]:
    """``ok`` or ``FAIL`` by the name of the finding."""
    shown = (line for line in out.splitlines() if not line.startswith("note:"))
    lines = [line.partition(":")[0].split(maxsplit=1) for line in shown]
    return {name: verdict for verdict, name in lines if verdict in ("ok", "FAIL")}


def test_a_sound_config_passes_and_leaves_only_its_sheet(command: Command, config: Path) -> None:
    result = command("check", config)
    assert result.status == 0, result.words
    assert findings(result.out) == {
        "vae": "ok", "initial loss": "ok", "captions": "ok", "empty condition": "ok", "gradients": "ok"
    }  # fmt: skip
    assert Image.open("check.png").width > 128
    assert sorted(path.name for path in config.parent.iterdir()) == ["check.png", "tiny.yaml"]


def test_the_sheet_is_written_where_the_option_says(command: Command, config: Path) -> None:
    assert command("check", config, "--output", "sheet.png", "training.batch_size=2").status == 0
    assert Path("sheet.png").exists()
    assert not Path("check.png").exists()


def test_notes_are_left_out_of_the_result_and_of_a_quiet_check(command: Command, config: Path) -> None:
    words = ("check", config, "text_encoder.max_length=4", "training.batch_size=2")
    shown, quiet = command(*words), command(*words, "-q")
    assert shown.err.startswith("note: ") and quiet.err == ""
    assert "note: " not in shown.out and quiet.out == shown.out


@pytest.mark.slow
def test_a_vae_that_does_not_give_images_back_fails(command: Command, config: Path, tmp_path: Path) -> None:
    folder = tiny_autoencoder_kl(tmp_path / "vae")
    result = command(
        "check", config, "vae.type=autoencoder_kl", f"vae.pretrained_model_name={folder}",
        "model.in_channels=4", "model.out_channels=4",
    )  # fmt: skip
    assert result.status == 1
    assert findings(result.out)["vae"] == "FAIL"
    assert "dB PSNR; latents have standard deviation " in result.words and "by channel mean " in result.words
    assert "note: the latents of channels 0, 2, 3 are far from mean 0 and standard deviation 1" in result.words


def test_without_guidance_no_caption_has_to_be_dropped(command: Command, config: Path) -> None:
    result = command("check", config, "training.caption_dropout=0", "sampling.guidance_scale=1")
    assert "0% of captions are dropped in training, guidance is 1" in result.words
    assert result.status == 0


@pytest.mark.slow
@pytest.mark.parametrize("words", [("check",), ("plan",), ("cache",), ("train",)])
def test_a_run_that_is_too_short_for_its_warm_up_is_refused_by_every_command(
    command: Command, config: Path, words: tuple[str, ...]
) -> None:
    short = ("training.num_epochs=1", "training.max_steps=null", "lr_scheduler.warmup_steps=10")
    of_96 = ("data.size=96", "data.train_split=1.0", "training.batch_size=4")
    result = command(*words, config, *short, *of_96, "training.gradient_accumulation_steps=8")
    assert result.status == 2
    assert "lr_scheduler.warmup_steps is 10, but the run has 3 optimizer steps" in result.words
    assert command("check", config, *short, *of_96).status == 0
    assert command("validate", config, *short, *of_96, "training.gradient_accumulation_steps=8").status == 0


@pytest.mark.parametrize("words", [("validate",), ("check",), ("plan",), ("cache",), ("train",)])
def test_micro_batches_that_make_no_tree_are_refused_by_every_command(
    command: Command, config: Path, words: tuple[str, ...]
) -> None:
    result = command(*words, config, "training.elastic_exact=true", "training.gradient_accumulation_steps=3")
    assert result.status == 2
    assert re.search("elastic_exact needs a power of two of micro-batches .* use 2 or 4,", result.words)


BROKEN_RATES = """
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Falling:
    \"\"\"Never ready.\"\"\"

def build(options, *, total_steps):
    raise ValueError(f"no plan for {total_steps} steps")

@hookimpl
def dit_run_components():
    return [Component(Kind.LR_SCHEDULER, "falling", Falling, build)]
"""


@pytest.mark.parametrize("word", ["check", "train"])
def test_a_schedule_that_cannot_be_built_fails_in_check_as_in_a_run(command: Command, config: Path, word: str) -> None:
    Path("falling.py").write_text(BROKEN_RATES)
    result = command(word, config, "plugins=[./falling.py]", "lr_scheduler={type: falling}")
    assert result.status == 1
    assert "no plan for 6 steps" in result.words


@pytest.mark.parametrize("word", ["check", "train"])
def test_weights_to_start_from_that_are_missing_are_refused_by_check_as_by_a_run(
    command: Command, config: Path, word: str
) -> None:
    result = command(word, config, "training.init_from=nowhere")
    assert result.status == 2
    assert (
        "training.init_from is nowhere, which is neither a run folder with a checkpoint, a checkpoint, an"
        in result.words
    )


def own_images(folder: Path, captions: list[str], *, plain: bool = False) -> str:
    """Write one image with each caption, and return the overrides that read them."""
    folder.mkdir()
    for index, caption in enumerate(captions):
        image = Image.new("RGB", (16, 16), "white")
        if not plain:
            image.paste((200, 20 * index, 0), (index, 0, index + 6, 8))
        image.save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(caption, encoding="utf-8")
    return f"data={{type: custom, dataset_path: {folder}, image_size: 16, train_split: 1.0}}"


LONG = "word " * 80


@pytest.mark.parametrize(
    ("captions", "reason"),
    [
        (["a red bar"], "all images of the batch have the same caption"),
        (["a red bar"] * 10, "all images of the batch have the same caption"),
        ([f"{LONG}{index}" for index in range(3)], "the 3 captions of the batch are the same to the text encoder"),
    ],
)
def test_captions_that_cannot_be_told_apart_are_not_compared(
    command: Command, config: Path, tmp_path: Path, captions: list[str], reason: str
) -> None:
    result = command("check", config, own_images(tmp_path / "own", captions), "training.batch_size=1")
    assert result.status == 0, result.words
    assert f"captions: not compared: {reason}" in result.words


def test_plain_images_do_not_fail_the_scale_of_latents(command: Command, config: Path, tmp_path: Path) -> None:
    result = command("check", config, own_images(tmp_path / "own", ["white"], plain=True), "training.batch_size=1")
    assert result.status == 0, result.words
    assert "not judged because the images are almost plain" in result.words


@pytest.mark.slow
def test_characters_that_no_font_has_are_named(command: Command, config: Path, tmp_path: Path) -> None:
    private = "\ue123"  # no font gives this code point a meaning
    own = own_images(tmp_path / "own", [f"café {private}", "قطة"])
    result = command("check", config, own, "training.batch_size=1")
    assert result.status == 0, result.words
    assert f"note: no font on this machine has these characters of the captions: {private};" in result.words


DEAF = """
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Deaf:
    "Looks at the noisy image alone."

def build(options, *, latent_channels):
    from torch import nn

    class Model(nn.Module):
        patch_size = 1

        def __init__(self):
            super().__init__()
            self.pixels = nn.Conv2d(latent_channels, latent_channels, 1)
            self.idle = nn.Linear(2, 2, bias=False)
            nn.init.constant_(self.pixels.bias, 3.0)

        def forward(self, latents, timesteps, text):
            return self.pixels(latents)

    return Model()

@hookimpl
def dit_run_components():
    return [Component(Kind.MODEL, "deaf", Deaf, build)]
"""


def test_a_model_that_hears_nothing_fails_in_all_that_it_lacks(command: Command, config: Path) -> None:
    Path("deaf.py").write_text(DEAF)
    config.write_text(config.read_text().replace("model: {", "model: {type: deaf} #") + "\nplugins: [./deaf.py]\n")
    result = command("check", config)
    assert result.status == 1
    assert findings(result.out) == {
        "vae": "ok", "initial loss": "FAIL", "captions": "FAIL", "empty condition": "FAIL", "gradients": "FAIL"
    }  # fmt: skip
    assert "none reach model.idle.weight, text_encoder.first.weight" in result.words


def test_the_sheet_shows_captions_with_the_number_of_their_tokens(command: Command, config: Path) -> None:
    command("check", config)
    with Image.open("check.png") as sheet:
        lines = sheet.text["captions"].splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 16
    for line in lines:
        image, _, text = line.partition(" cropped, ")
        count, _, caption = text.partition(" tokens: ")
        assert image == "16x16, 0%"
        assert int(count) == len(caption.split()) + 1  # the words and their start marker


@pytest.mark.slow
def test_a_sweep_suggests_a_learning_rate_and_leaves_only_its_plot(command: Command, config: Path) -> None:
    result = command("check", config, "--find-lr")
    assert result.status == 0, result.words
    suggested = re.search(
        r"suggested: training.learning_rate=(\S+), a third of that \(this config has 0.02\)", result.words
    )
    assert suggested
    assert 0.003 < float(suggested.group(1)) < 0.3
    assert Image.open("find-lr.png").format == "PNG"
    assert sorted(path.name for path in config.parent.iterdir()) == ["find-lr.png", "tiny.yaml"]
    assert command("check", config, "--find-lr", "--output", "other.png").out == result.out.replace("find-lr", "other")


@pytest.mark.slow
def test_a_sweep_that_learns_nothing_says_so(command: Command, config: Path) -> None:
    result = command("check", config, "--find-lr", "training.max_grad_norm=1e-30", "optimizer={type: torch, name: SGD}")
    assert result.status == 1
    assert "no rate lowered the loss from " in result.words
    assert "plot: find-lr.png" in result.words
