"""`dit-run export`: folders that programs without dit-run load, with the same images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import hub_repository, tiny_autoencoder_kl, tiny_clip
from environments import Environment
from huggingface_hub import constants
from PIL import Image
from runs import CONFIG, Command
from safetensors import safe_open
from text_models import tiny_text_model

import dit_run

Pixels = np.ndarray[Any, Any]
PROGRAM = Path(__file__).with_name("exported_images.py")
PROMPTS = ["a red circle", "a blue square", "a cross"]
WORDS = "{type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}"


def clip(folder: Path) -> str:
    return f"{{type: clip, pretrained_model_name: {tiny_clip(folder / 'clip')}}}"


def t5(folder: Path) -> str:
    return f"{{type: transformers, pretrained_model_name: {tiny_text_model(folder / 't5', 't5')}}}"


def latents(folder: Path, more: str = "") -> tuple[str, ...]:
    vae = tiny_autoencoder_kl(folder / "vae")
    return f"vae={{type: autoencoder_kl, pretrained_model_name: {vae}{more}}}", *_CHANNELS


_CHANNELS = ("model.in_channels=4", "model.out_channels=4", "model.patch_size=1")
_PIXART = "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, sample_size: 16}"
_NORMALIZED = ", normalize: data"
_SMALL_STATES = ("cache.text_dtype=fp8", "cache.max_tokens=3")
_PLUGIN = """
from dataclasses import dataclass
import torch
{imports}
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Options:
    value: float = 0.5
    \"\"\"A value.\"\"\"

class Gray(torch.nn.Module):
    latent_channels, factor, cacheable = 3, 1, False

    def __init__(self, value):
        super().__init__()
        self.value = value

    def encode(self, images, noise=None):
        return images, None

    def decode(self, latents):
        return latents * self.value

def build(options):
    {body}
    return Gray(options.value)

@hookimpl
def dit_run_components():
    return [Component(Kind.VAE, "gray", Options, build)]
"""


def plugin(folder: Path, imports: str = "", body: str = "pass") -> tuple[str, ...]:
    """Write a plugin file with a VAE, which needs ``imports``."""
    (folder / "gray.py").write_text(_PLUGIN.format(imports=imports, body=body))
    return f"plugins=[{folder / 'gray.py'}]", "vae={type: gray, value: 0.75}"


def both(folder: Path) -> tuple[str, ...]:
    return f"text_encoder={clip(folder)}", *latents(folder), "scheduler={type: ddpm}"


@dataclass(frozen=True)
class Case:
    """A run, and how its export is used."""

    words: Callable[[Path], tuple[str, ...]] = lambda folder: ()
    """Overrides of the run, whose files are made in a folder."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of sampling."""
    load: Mapping[str, str] = field(default_factory=dict)
    """Arguments of ``from_pretrained``."""
    dtype: str = "fp32"
    """Precision of the exported weights."""
    frozen: bool = True
    """False leaves the frozen parts under their names on the hub."""
    merge: bool = False
    """True for the run of an adapter, whose export is the whole model with it."""


def on_hub(folder: Path) -> tuple[str, ...]:
    """A text encoder and a VAE by names of a hub whose files are on this machine."""
    for name, make in (("clip", tiny_clip), ("vae", tiny_autoencoder_kl)):
        make(hub_repository(Path(constants.HF_HUB_CACHE), name))
    encoder = "text_encoder={type: clip, pretrained_model_name: tiny/clip}"
    return encoder, "vae={type: autoencoder_kl, pretrained_model_name: tiny/vae}", *_CHANNELS


def lora(folder: Path) -> tuple[str, ...]:
    """An adapter of a run that is trained first."""
    base = trained(folder / "base")
    return "adapter={type: lora, rank: 2, use_dora: true}", f"training.init_from={base}", "training.learning_rate=0.2"


_SETTINGS = {"sampler": "heun", "steps": 3, "guidance_scale": 3.0, "size": (8, 24), "negative_prompt": "blue"}
_LOWER = {"torch_dtype": "bfloat16", "device_map": "cpu"}
CASES = {
    "pixels": Case(settings={"seed": 3}),
    "settings": Case(settings=_SETTINGS | {"batch_size": 2}),
    "latents": Case(both),
    "several": Case(
        lambda folder: (
            f"text_encoder=[{WORDS}, {clip(folder)}, {t5(folder)}]",
            *latents(folder, _NORMALIZED),
            *_SMALL_STATES,
        )
    ),
    "pixart": Case(lambda folder: (f"text_encoder={t5(folder)}", _PIXART), {"seed": 5}),
    "mixed precision": Case(lambda folder: ("training.mixed_precision=bf16",)),
    "scalars": Case(lambda folder: ("model.scalars=[original_height, crop_top]",), {"scalars": {"crop_top": 8.0}}),
    "plugin": Case(plugin),
    "names": Case(on_hub, frozen=False),
    "lora": Case(lora, merge=True),
    "lower precision": Case(both, load=_LOWER, dtype="bf16"),
}


def trained(folder: Path, *words: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(CONFIG)
    given = (f"training.output_dir={folder / 'run'}", "cache.mode=off", *words)
    return dit_run.train(dit_run.load_config(folder / "tiny.yaml", *given)).path


def exported(case: Case, folder: Path) -> list[Pixels]:
    """Export the run of a case to a folder that has nothing of the run next to it; the images of dit-run."""
    work = folder.with_name("work")
    work.mkdir()
    run = dit_run.load_run(trained(work, *case.words(work), "training.max_steps=3"), allow_plugins=True)
    run.export(folder, dtype=case.dtype, frozen=case.frozen, merge=case.merge)
    given = {{"steps": "num_inference_steps"}.get(name, name): value for name, value in case.settings.items()}
    given |= dict(zip(("height", "width"), given.pop("size", ()), strict=False))
    (folder / "call.json").write_text(json.dumps({"load": case.load, "call": {"prompt": PROMPTS, **given}}))
    images = [pixels(image) for image in run.sample(PROMPTS, **case.settings)]
    shutil.rmtree(work)
    return images


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Pixels], list[Pixels]]]:
    """The images of each case: those of dit-run, and those of a program in an environment without dit-run."""
    place = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        expected = {name: exported(case, place / name) for name, case in CASES.items()}
    environment = Environment.make(place / "venv", pip=False)
    caches = {"HF_MODULES_CACHE": f"{place}/code", "HF_HUB_CACHE": f"{place}/hub"}
    environment.run("python", PROGRAM, *(place / name for name in CASES), cwd=place, **caches)
    files = [f"image-{index}.png" for index in range(len(PROMPTS))]
    return {
        name: (ours, [pixels(Image.open(place / name / file)) for file in files]) for name, ours in expected.items()
    }


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny config; tests leave it as it is."""
    return trained(tmp_path_factory.mktemp("trained"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_exported_folder_gives_the_same_images_without_dit_run(
    images: dict[str, tuple[list[Pixels], list[Pixels]]], name: str
) -> None:
    for ours, others in zip(*images[name], strict=True):
        assert ours.shape == others.shape
        assert ours.std() > 5, "nothing to compare"
        if CASES[name].load:
            assert 0 < abs(ours - others).mean() < 10
        else:
            assert abs(ours - others).max() <= 1


@pytest.mark.slow
def test_the_command_writes_the_formats(run_folder: Path, command: Command, tmp_path: Path) -> None:
    result = command("export", run_folder, tmp_path / "whole")
    assert result.status == 0, result.words
    assert "the folder holds code (trust_remote_code), because no pipeline of diffusers has the model dit" in result.err
    assert result.out == f"{tmp_path / 'whole'} the averaged weights of step 6\n".replace(" the", "  the", 1)
    files = {"README.md", "config.yaml", "curves.svg", "single.safetensors"}
    parts = {"model_index.json", "transformer", "text_encoder", "vae", "scheduler"}
    assert {path.name for path in (tmp_path / "whole").iterdir() if path.suffix != ".py"} == files | parts
    words = ("--format", "safetensors", "--checkpoint", "3", "--no-ema", "--dtype", "fp16")
    result = command("export", run_folder, tmp_path / "single", *words)
    assert result.out == f"{tmp_path / 'single'}  the weights of step 3\n"
    assert {path.name for path in (tmp_path / "single").iterdir()} == files


def test_the_single_file_has_the_weights_with_step_and_config(run_folder: Path, tmp_path: Path) -> None:
    run = dit_run.load_run(run_folder)
    folder = run.export(tmp_path / "single", format="safetensors", dtype="fp16")
    with safe_open(folder / "single.safetensors", "pt") as file:
        facts = file.metadata()
        assert {name: file.get_tensor(name).dtype.itemsize for name in file.keys()} == dict.fromkeys(file.keys(), 2)  # noqa: SIM118
        assert set(file.keys()) == set(run.pipeline.denoiser.tensors())
    assert (facts["step"], facts["global_batch"], facts["weights"]) == ("6", "4", "ema")
    assert facts["config"] == (folder / "config.yaml").read_text()


@pytest.mark.slow
def test_a_run_starts_from_an_exported_folder(run_folder: Path, command: Command, config: Path) -> None:
    dit_run.load_run(run_folder).export("exported")
    result = command(config, "training.init_from=exported", "training.max_steps=1", "trackers=[]")
    assert result.status == 0, result.words
    assert "training.init_from exported: 44 tensors taken, 0 resized, 0 left out" in result.words


@pytest.mark.slow
def test_the_model_card_shows_curves_samples_and_both_uses(config: Path) -> None:
    run = dit_run.load_run(dit_run.train(dit_run.load_config(config, "sampling.every_n_steps=3")).path)
    folder = run.export("exported")
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and "license: unknown\nlibrary_name: diffusers\n" in card
    assert "The licence of the trained weights is not known to dit-run" in card
    for name in ("samples.png", "curves.svg"):
        assert f"![{name}]({name})" in card
    assert (folder / "samples.png").read_bytes() == (run.path / "samples" / "step-00000006.png").read_bytes()
    assert 'DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)' in card
    assert "dit-run sample FOLDER" in card


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("setting", "value"), [("format", "onnx"), ("dtype", "int8"), ("license", "Apache 2.0")])
def test_an_unknown_choice_is_refused(run_folder: Path, tmp_path: Path, setting: str, value: str) -> None:
    with pytest.raises(dit_run.InputError, match=f"the {setting} of an export is .*, not '{value}'"):
        dit_run.load_run(run_folder).export(tmp_path / "exported", **{setting: value})


def test_a_run_without_a_checkpoint_and_a_full_folder_are_refused(
    run_folder: Path, command: Command, tmp_path: Path
) -> None:
    result = command("export", run_folder, run_folder)
    assert result.status == 2
    assert f"{run_folder} exists and is not an empty folder; export to another folder" in result.words
    bare = shutil.copytree(run_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    result = command("export", bare, tmp_path / "exported")
    assert result.status == 2
    assert "checkpoint" in result.words and not (tmp_path / "exported").exists()


@pytest.mark.slow
def test_frozen_parts_of_a_local_path_have_no_name_elsewhere(tmp_path: Path, command: Command) -> None:
    run = trained(tmp_path, f"text_encoder={clip(tmp_path)}", "training.max_steps=1")
    result = command("export", run, tmp_path / "exported", "--no-frozen")
    assert result.status == 2
    assert f"text_encoder.pretrained_model_name is the local path {tmp_path / 'clip'}" in result.words
    assert not (tmp_path / "exported").exists()


def test_a_plugin_that_needs_more_than_the_libraries_is_refused(tmp_path: Path) -> None:
    path = trained(tmp_path, *plugin(tmp_path, "import yaml", "yaml.dump(1)"), "training.max_steps=1")
    run = dit_run.load_run(path, allow_plugins=True)
    with pytest.raises(dit_run.InputError, match="With format safetensors the export holds") as caught:
        run.export(tmp_path / "exported")
    assert "vae.gray cannot be exported for other programs" in str(caught.value)
    assert "gray.py, line 4, imports yaml, which programs without dit-run do not have" in str(caught.value)
    assert not (tmp_path / "exported").exists()
    run.export(tmp_path / "exported", format="safetensors")


def test_damaged_weights_of_a_frozen_part_are_not_copied(tmp_path: Path) -> None:
    run = dit_run.load_run(trained(tmp_path, f"text_encoder={clip(tmp_path)}", "training.max_steps=1"))
    weights = tmp_path / "clip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(dit_run.InputError, match=r"^text_encoder\.pretrained_model_name: .*not a readable safetensors"):
        run.export(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
