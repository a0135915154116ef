"""Adapters from the command line: what trains, checkpoints, stops, samples, and bases that are not the same."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forks import Forks
from image_transformers import tiny_transformer
from PIL import Image
from runs import CONFIG, Command, Run, stopped_on_two_processes, stopping

import dit_run

STOPPED = stopping(4)
LORA = "adapter={type: lora, rank: 2, dropout: 0.2}"


@pytest.fixture(autouse=True, scope="module")
def peft() -> None:
    """Skip these tests without peft. The import is slow, so that no process that only collects them has it."""
    pytest.importorskip("peft")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny config, whose weights adapters change; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "tiny.yaml").write_text(CONFIG)
    return dit_run.train(dit_run.load_config(folder / "tiny.yaml", f"training.output_dir={folder / 'run'}")).path


@pytest.fixture
def words(base: Path, config: Path) -> tuple[object, ...]:
    """The arguments of a run that trains an adapter of the base."""
    return config, LORA, f"training.init_from={base}"


def pixels(command: Command, *arguments: object) -> np.ndarray[Any, Any]:
    """The pixels of a sample."""
    Path("image.png").unlink(missing_ok=True)
    said = command("sample", *arguments, "a red circle", "--seed", "3", "--output", "image.png")
    assert said.status == 0, said.words
    with Image.open("image.png") as image:
        return np.asarray(image).astype(int)


@pytest.mark.slow
def test_a_checkpoint_has_the_adapter_alone_and_names_its_base(
    command: Command, words: tuple[object, ...], base: Path
) -> None:
    said = command(*words)
    assert said.status == 0, said.words
    run, all_of_base = Run(Path("run")), Run(base).tensors()
    own = {name: tuple(value.shape) for name, value in run.tensors().items()}
    layers = {
        name.removesuffix(".weight") for name in all_of_base if name.startswith("blocks.") and "_norm" not in name
    }
    layers -= {"blocks.0.table"}
    assert set(own) == {f"{layer}.lora_{part}.default.weight" for layer in layers for part in "AB"}
    assert set(run.tensors("ema")) == set(own)
    held = sum(value.numel() for value in all_of_base.values()) + sum(map(np.prod, own.values()))
    assert f"{sum(map(np.prod, own.values())):,} of {held:,} parameters train on cpu" in said.words
    state, config = (json.loads(run.file(name).read_text()) for name in ("state.json", "config.json"))
    assert len(state["inputs"]["model"]) == 64
    assert config["training"]["init_from"] == str(base)


@pytest.mark.slow
def test_stopped_and_continued_it_learns_the_same_bytes(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words, "training.output_dir=whole").status == 0
    assert command(*words, *STOPPED).status == 143
    assert command(*words, *STOPPED).status == 0
    run, whole = Run(Path("run")), Run(Path("whole"))
    assert run.learnt() == whole.learnt()
    for name in ("loss", "validation/loss", "validation/loss_ema"):
        assert run.values(name) == whole.values(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "adapter={type: lora, rank: 3, alpha: 5, use_dora: true, targets: ['blocks.*.self_attention', input]}",
        "training.learning_rate_factors={'*.lora_B': 4}",
        "optimizer.type=muon",
    ],
)
def test_other_settings_continue_to_the_same_bytes(command: Command, words: tuple[object, ...], change: str) -> None:
    assert command(*words, change, "training.output_dir=whole").status == 0
    assert command(*words, change, *STOPPED).status == 143
    assert command(*words, change, *STOPPED).status == 0
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()


@pytest.mark.slow
def test_it_samples_the_base_with_the_adapter(command: Command, words: tuple[object, ...], base: Path) -> None:
    assert command(*words, "training.learning_rate=0.1").status == 0
    ours, bare = pixels(command, "run"), pixels(command, base)
    assert abs(ours - bare).max() > 3
    run = dit_run.load_run("run")
    averages = Run(Path("run")).tensors("ema")
    assert all(torch.equal(value, averages[name]) for name, value in run.pipeline.denoiser.tensors().items())


@pytest.mark.slow
def test_other_base_weights_are_refused(command: Command, words: tuple[object, ...], base: Path) -> None:
    assert command(*words, *STOPPED).status == 143
    shutil.copytree(base, "moved")
    shutil.copytree(base, "other")
    shutil.rmtree("other/checkpoints/step-00000006")
    for arguments in ((*words, *STOPPED), ("sample", "run", "a circle")):
        said = command(*arguments, "training.init_from=other")
        assert (said.status, "holds an adapter of other base weights" in said.words) == (2, True), said.words
    said = command(*words, *STOPPED, "training.init_from=moved")
    assert said.status == 0, said.words
    assert "training.init_from: " in said.words
    assert "the weights that the adapter changes are the same as before" in said.words
    (Path("other") / "checkpoints").rename("gone")
    said = command("sample", "run", "a circle", "training.init_from=other")
    assert said.status == 2 and "training.init_from is other, which is neither a run folder" in said.words


def test_another_adapter_does_not_continue_a_run(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words, *STOPPED).status == 143
    said = command(*words, *STOPPED, "adapter.rank=3")
    assert said.status == 2 and "adapter.rank: 2 -> 3" in said.words


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("block", "adapter.targets: 'block' matches no linear or convolution layer; similar names: blocks"),
        ("*.to_q", "adapter.targets: '*.to_q' matches no linear or convolution layer; the names begin with input"),
        ("blocks.0.table", "adapter.targets: 'blocks.0.table' matches no linear or convolution layer"),
    ],
)
def test_targets_without_a_layer_are_refused_before_weights_are_read(
    command: Command, words: tuple[object, ...], target: str, message: str
) -> None:
    for name in ("train", "check"):
        said = command(name, *words[:2], "training.init_from=missing", f"adapter.targets=['{target}']")
        assert (said.status, message in said.words) == (2, True), said.words
    assert not Path("run").exists()


def test_weights_of_an_adapter_alone_are_no_base(command: Command, words: tuple[object, ...], config: Path) -> None:
    assert command(*words).status == 0
    said = command(config, "training.init_from=run", "training.output_dir=next")
    assert said.status == 2
    assert "has the weights of an adapter alone; merge it with its base first" in said.words


def test_random_weights_and_frozen_patterns_are_reported(command: Command, config: Path, base: Path) -> None:
    said = command("validate", config, LORA, "training.freeze=[blocks]")
    assert said.status == 0
    assert "adapter lora changes random weights" in said.words
    assert "training.freeze has no effect: an adapter freezes all weights but its own" in said.words
    said = command("validate", config, LORA, f"training.init_from={base}")
    assert "random weights" not in said.words


@pytest.mark.slow
def test_check_plan_and_explain_know_adapters(command: Command, words: tuple[object, ...]) -> None:
    for name in ("check", "plan", "explain"):
        said = command(name, *words)
        assert said.status == 0, (name, said.words)
    assert "adapter.rank" in said.words


def test_without_peft_it_says_how_to_install_it(
    command: Command, words: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    said = command(*words)
    assert said.status == 2
    assert "adapter: type lora needs the package peft, which cannot be imported" in said.words
    assert "pip install 'dit-run[lora]'" in said.words


# -------------------------------------------------------------------------------------------------------------- export


@pytest.mark.slow
def test_an_export_holds_the_adapter_alone_or_the_whole_model(
    command: Command, words: tuple[object, ...], config: Path, base: Path
) -> None:
    assert command(*words, "training.learning_rate=0.1", "training.learning_rate_factors={'*.lora_B': 2}").status == 0
    said = command("export", "run", "alone")
    assert said.status == 0
    assert "the folder holds the adapter alone; --merge exports the whole model with it" in said.words
    assert {path.name for path in Path("alone").iterdir()} == {
        *("README.md", "config.yaml", "curves.svg", "single.safetensors"),
        *("adapter_config.json", "adapter_model.safetensors"),
    }
    assert "| Adapter | lora, " in Path("alone/README.md").read_text()
    assert command("export", "run", "merged", "--merge").status == 0
    assert Path("merged/model_index.json").exists()
    expected = pixels(command, "run")
    assert abs(pixels(command, "alone") - expected).max() == 0
    assert abs(pixels(command, "merged") - expected).max() <= 1
    shutil.copytree(base, "other")
    shutil.rmtree("other/checkpoints/step-00000006")
    said = command("sample", "alone", "a circle", "training.init_from=other")
    assert said.status == 2 and "holds an adapter of other base weights" in said.words
    assert command("export", "alone", "later", "--merge").status == 0
    for source in ("merged", "later"):
        said = command(config, f"training.init_from={source}", f"training.output_dir=from-{source}")
        assert said.status == 0 and "44 tensors taken, 0 resized, 0 left out" in said.words
    said = command(config, "training.init_from=alone", "training.output_dir=none")
    assert said.status == 2 and "training.init_from is alone, which has the weights of an adapter alone" in said.words


@pytest.mark.slow
def test_one_file_and_a_merge_without_an_adapter(command: Command, words: tuple[object, ...], base: Path) -> None:
    assert command(*words).status == 0
    assert command("export", "run", "single", "--format", "safetensors", "--dtype", "bf16").status == 0
    assert {path.name for path in Path("single").iterdir()} == {
        *("README.md", "config.yaml", "curves.svg", "single.safetensors"),
    }
    pixels(command, "single")
    said = command("export", base, "merged", "--merge")
    assert said.status == 2 and f"--merge is for a run with an adapter, and that in {base} has none" in said.words
    assert not Path("merged").exists()


# ------------------------------------------------------------------------------------------- transformers of diffusers

_SIZES = {"patch_size": 4, "in_channels": 3, "out_channels": 3, "caption_channels": 8}
MODELS = {
    "pixart": ("PixArtTransformer2DModel", "ddpm", {**_SIZES, "sample_size": 16}),
    "diffusers_transformer": ("SanaTransformer2DModel", "flow_matching", {**_SIZES, "sample_size": 16}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_pretrained_models_train_an_adapter_continue_and_sample(
    command: Command, config: Path, kind: str, tmp_path: Path
) -> None:
    class_name, scheduler, sizes = MODELS[kind]
    tiny_transformer(tmp_path / "weights", class_name, seed=1, **sizes)
    model = f"model={{type: {kind}, pretrained_model_name: weights}}"
    config.write_text("".join(line for line in CONFIG.splitlines(True) if not line.startswith("model:")))
    words = (config, model, f"scheduler={{type: {scheduler}}}", "adapter={type: lora, rank: 2, targets: ['*.attn2']}")
    whole = command(*words, "training.output_dir=whole")
    assert whole.status == 0, whole.words
    assert f"values loaded from weights ({class_name}" in whole.words
    assert command(*words, *STOPPED).status == 143
    assert command(*words, *STOPPED).status == 0
    run = Run(Path("run"))
    assert run.learnt() == Run(Path("whole")).learnt()
    layers = {name.partition(".lora_")[0] for name in run.tensors()}
    assert layers == {f"transformer.transformer_blocks.0.attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    pixels(command, "run")
    tiny_transformer(tmp_path / "weights", class_name, seed=2, **sizes)
    said = command("sample", "run", "a circle")
    assert said.status == 2 and "holds an adapter of other base weights" in said.words


@pytest.mark.slow
def test_it_trains_on_two_processes(words: tuple[object, ...], forks: Forks) -> None:
    whole, run = stopped_on_two_processes(forks, (*words, "training.batch_size=2"), 4)
    assert run.learnt() == whole.learnt()
