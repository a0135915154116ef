"""Exports as pipelines of diffusers themselves: the program of the model card gives the images of dit-run sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builders import tiny_autoencoder_kl, tiny_dc_ae
from environments import Environment
from image_transformers import CONFIGS
from PIL import Image
from runs import CONFIG
from text_models import tiny_text_model

import dit_run

PROGRAM = Path(__file__).with_name("card_images.py")


@dataclass(frozen=True)
class Case:
    """A run whose parts fit a pipeline of diffusers."""

    pipeline: str
    words: Callable[[Path], tuple[str, ...]]
    difference: int = 1
    """Largest difference of a value in pixels (of 255)."""


def text(folder: Path, family: str, length: int = 20) -> str:
    name = tiny_text_model(folder / family, family)
    return f"text_encoder={{type: transformers, pretrained_model_name: {name}, max_length: {length}}}"


def kl(folder: Path) -> str:
    return f"vae={{type: autoencoder_kl, pretrained_model_name: {tiny_autoencoder_kl(folder / 'vae')}}}"


def of_class(name: str, **config: object) -> str:
    values = json.dumps({**CONFIGS[name], **config})
    return f"model={{type: diffusers_transformer, class_name: {name}, config: {values}}}"


def sana(folder: Path) -> tuple[str, ...]:
    vae = f"vae={{type: autoencoder_dc, pretrained_model_name: {tiny_dc_ae(folder / 'dc')}}}"
    return text(folder, "gemma"), vae, of_class("SanaTransformer2DModel"), "data.image_size=64"


def aura(folder: Path) -> tuple[str, ...]:
    model = of_class("AuraFlowTransformer2DModel").replace("config", "text_length: 20, config")
    return text(folder, "umt5"), kl(folder), model, "scheduler={type: flow_matching, shift: 1.73}"


def pixart(folder: Path, *words: str, **options: object) -> tuple[str, ...]:
    shape = {"hidden_size": 24, "num_layers": 1, "num_heads": 2, "patch_size": 1, "sample_size": 4}
    return text(folder, "t5"), kl(folder), f"model={json.dumps({'type': 'pixart', **shape, **options})}", *words


_ZERO = "scheduler={type: ddpm, prediction_type: v_prediction, zero_terminal_snr: true, beta_schedule: linear}"
CASES: Mapping[str, Case] = {
    "sigma": Case("PixArtSigmaPipeline", lambda folder: pixart(folder, "scheduler={type: ddpm}", "sampling.steps=7")),
    "alpha": Case(
        "PixArtAlphaPipeline",
        lambda folder: pixart(folder, _ZERO, micro_conditions=True, sample_size=128, learned_sigma=True),
    ),
    "no guidance": Case(
        "PixArtSigmaPipeline",
        lambda folder: pixart(folder, "scheduler={type: ddpm}", "sampling.guidance_scale=1", "sampling.seed=5"),
    ),
    "lower precision": Case(
        "PixArtSigmaPipeline",
        lambda folder: tuple(
            word.replace("max_length", "dtype: bf16, max_length")
            for word in pixart(folder, "scheduler={type: ddpm}", "training.mixed_precision=bf16")
        ),
        difference=5,
    ),
    "aura": Case("AuraFlowPipeline", aura),
    "sana": Case("SanaPipeline", sana),
}


def trained(folder: Path, *words: str) -> dit_run.LoadedRun:
    """A run of two steps whose weights are random, because transformers begin with zeros at their end."""
    (folder / "tiny.yaml").write_text(CONFIG)
    given = (f"training.output_dir={folder / 'run'}", "cache.mode=off", "training.max_steps=2", *words)
    run = dit_run.load_run(dit_run.train(dit_run.load_config(folder / "tiny.yaml", *given)).path)
    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray, np.ndarray]]:
    """The exported folder of each case, the image of dit-run, and that of the card's program without dit-run."""
    place = tmp_path_factory.mktemp("stock")
    expected = {}
    for name, case in CASES.items():
        work = place / "work"
        work.mkdir()
        run = trained(work, *case.words(work), "sampling.prompts=[a red circle on the mat]")
        run.export(place / name)
        expected[name] = np.asarray(run.sample()[0]).astype(int)
        shutil.rmtree(work)
    environment = Environment.make(place / "venv", pip=False)
    environment.run("python", PROGRAM, *(place / name for name in CASES), cwd=place)
    return {
        name: (place / name, ours, np.asarray(Image.open(place / name / "image.png")).astype(int))
        for name, ours in expected.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_program_of_the_card_gives_the_image_of_dit_run(
    images: dict[str, tuple[Path, np.ndarray, np.ndarray]], name: str
) -> None:
    folder, ours, others = images[name]
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == CASES[name].pipeline
    assert [path for path in folder.rglob("*.py")] == []
    assert ours.shape == others.shape
    assert ours.std() > 5, "nothing to compare"
    assert abs(ours - others).max() <= CASES[name].difference


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_dit_run_samples_the_folder_of_the_pipeline(
    images: dict[str, tuple[Path, np.ndarray, np.ndarray]], name: str
) -> None:
    folder, ours, _ = images[name]
    assert np.array_equal(np.asarray(dit_run.load_run(folder).sample()[0]).astype(int), ours)
