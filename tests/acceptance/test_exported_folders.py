"""Exported folders as dit-run opens them: with their own frozen parts, wherever they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import tiny_autoencoder_kl, tiny_clip
from PIL import Image
from runs import CONFIG, Command
from text_models import tiny_text_model

import dit_run

PROMPTS = ["a red circle", "a blue square"]


def train(folder: Path, *words: str) -> dit_run.LoadedRun:
    (folder / "tiny.yaml").write_text(CONFIG)
    given = (f"training.output_dir={folder / 'run'}", "cache.mode=off", "training.max_steps=2", *words)
    return dit_run.load_run(dit_run.train(dit_run.load_config(folder / "tiny.yaml", *given)).path)


def frozen(folder: Path, *, several: bool) -> tuple[str, ...]:
    """A run whose encoders and VAE are local folders."""
    clip = f"{{type: clip, pretrained_model_name: {tiny_clip(folder / 'clip')}}}"
    t5 = f"{{type: transformers, pretrained_model_name: {tiny_text_model(folder / 't5', 't5')}, max_length: 16}}"
    return (
        f"text_encoder={f'[{clip}, {t5}]' if several else t5}",
        f"vae={{type: autoencoder_kl, pretrained_model_name: {tiny_autoencoder_kl(folder / 'vae')}}}",
        "model.in_channels=4",
        "model.out_channels=4",
        "model.patch_size=1",
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder for the run and its parts, which tests delete."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True], ids=["one encoder", "two encoders"])
def test_a_folder_samples_with_its_own_frozen_parts(
    several: bool, work: Path, tmp_path: Path, command: Command
) -> None:
    run = train(work, *frozen(work, several=several))
    expected = [np.asarray(image) for image in run.sample(PROMPTS)]
    shutil.move(run.export(tmp_path / "exported"), tmp_path / "moved here")
    shutil.rmtree(work)
    images = dit_run.load_run(tmp_path / "moved here").sample(PROMPTS)
    assert all(np.array_equal(image, each) for image, each in zip(images, expected, strict=True))
    result = command("sample", tmp_path / "moved here", PROMPTS[0], "--output", tmp_path / "image.png")
    assert result.status == 0, result.words
    assert np.array_equal(np.asarray(Image.open(tmp_path / "image.png")), expected[0])


@pytest.mark.slow
def test_an_argument_names_other_frozen_parts(work: Path, tmp_path: Path, command: Command) -> None:
    folder = train(work, *frozen(work, several=False)).export(tmp_path / "exported")
    other = tiny_autoencoder_kl(work / "other", seed=1)
    plain, changed = (
        np.asarray(dit_run.load_run(folder, *words).sample(PROMPTS[0])[0])
        for words in ((), (f"vae.pretrained_model_name={other}",))
    )
    assert not np.array_equal(plain, changed)
    result = command("sample", folder, PROMPTS[0], f"text_encoder.pretrained_model_name={work / 'none'}")
    assert result.status == 2
    assert f"{work / 'none'} is neither an existing file or folder" in result.words


@pytest.mark.slow
def test_an_exported_folder_is_exported_again_with_the_names_of_its_parts(
    work: Path, tmp_path: Path, command: Command
) -> None:
    run = train(work, *frozen(work, several=True))
    first = run.export(tmp_path / "first")
    expected = [np.asarray(image) for image in run.sample(PROMPTS)]
    shutil.rmtree(work)
    assert command("export", first, tmp_path / "second", "--license", "mit").status == 0
    assert (tmp_path / "second" / "config.yaml").read_text() == (first / "config.yaml").read_text()
    card = (tmp_path / "second" / "README.md").read_text()
    assert "- text_encoder clip: clip\n- text_encoder transformers: t5\n- vae autoencoder_kl: vae\n" in card
    shutil.rmtree(first)
    images = dit_run.load_run(tmp_path / "second").sample(PROMPTS)
    assert all(np.array_equal(image, each) for image, each in zip(images, expected, strict=True))


@pytest.mark.slow
def test_places_that_do_not_fit_the_config_are_refused(work: Path, tmp_path: Path) -> None:
    folder = train(work, *frozen(work, several=False)).export(tmp_path / "exported")
    assert json.loads((folder / "frozen.json").read_text()) == {
        "text_encoder": [{"pretrained_model_name": "text_encoder/pretrained/pretrained_model_name"}],
        "vae": [{"pretrained_model_name": "vae/pretrained/pretrained_model_name"}],
    }
    (folder / "frozen.json").write_text('{"text_encoder": [{}, {}], "vae": [{}]}')
    with pytest.raises(dit_run.InputError, match=r"frozen.json does not fit config.yaml"):
        dit_run.load_run(folder)
