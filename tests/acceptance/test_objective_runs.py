"""Training on objectives, from the command line: lists, an objective with weights of its own, stops and processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import tiny_dinov2
from forks import Forks
from runs import Command, Run, stopping
from safetensors.torch import load_file

HEAD = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.protocols import ObjectiveLoss


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head on the output, and the difference between two predictions."""


def build(options, *, device):
    from torch import nn

    class HeadLoss:
        parts = ("change",)

        def __init__(self):
            self.trained = nn.Conv2d(3, 3, 1)

        def __call__(self, batch, predict):
            first = predict().output
            second = predict(batch.latents, batch.timesteps).output
            error = (self.trained(first) - batch.latents).square().mean((1, 2, 3))
            change = (first - second).square().mean((1, 2, 3))
            return ObjectiveLoss(error + change, {"change": change})

    return HeadLoss()


@hookimpl
def dit_run_components():
    return [Component(Kind.OBJECTIVE, "head", Head, build)]
'''
LIST = "objective=[{type: denoising}, {type: contrastive, weight: 0.3, until: 0.5}, {type: head, start: 0.3}]"
LIVELY = ("training.gradient_accumulation_steps=2", "training.batch_size=2", "trackers=[]")


@pytest.fixture
def words(config: Path) -> tuple[object, ...]:
    """The words of a command with three objectives, the last of which trains a head; each acts in another part."""
    (config.parent / "head.py").write_text(HEAD)
    return config, f"plugins=[{config.parent / 'head.py'}]", LIST, *LIVELY


def with_stop(words: tuple[object, ...], after: int) -> tuple[object, ...]:
    plugins, callbacks = stopping(after)
    return (*words, f"{words[1]}".replace("]", f", {plugins.removeprefix('plugins=[')}"), callbacks)


def test_stopped_and_continued_it_learns_the_same_bytes(words: tuple[object, ...], command: Command) -> None:
    assert command(*words, "training.output_dir=whole").status == 0
    assert command(*with_stop(words, 2)).status == 143
    assert command(*with_stop(words, 4)).status == 143
    assert command(*words).status == 0
    whole, run = Run(Path("whole")), Run(Path("run"))
    assert run.learnt() == whole.learnt()
    assert {"objective.head.weight", "objective.head.bias"} <= run.tensors().keys()
    for name in ("loss", "objective/denoising", "objective/contrastive", "objective/head", "objective/head/change"):
        assert run.values(name) == whole.values(name), name
    steps = {
        name: [line["step"] for line in run.metrics if f"objective/{name}" in line] for name in ("contrastive", "head")
    }
    assert steps == {"contrastive": [1, 2, 3], "head": [3, 4, 5, 6]}


def test_images_and_weights_of_such_a_run_need_no_head(words: tuple[object, ...], command: Command) -> None:
    assert command(*words, "training.max_steps=3").status == 0
    sampled = command("sample", "run", "a circle", "--output", "image.png")
    assert sampled.status == 0, sampled.words
    exported = command("export", "run", "folder", "--allow-plugins")
    assert exported.status == 0, exported.words
    names = [name for path in Path("folder").rglob("*.safetensors") for name in load_file(path)]
    assert names and not any(name.startswith("objective.") for name in names)


def test_a_check_follows_gradients_to_the_head(words: tuple[object, ...], command: Command) -> None:
    checked = command("check", *words)
    assert checked.status == 0, checked.words
    assert "gradients reach 46 of 46 tensors" in checked.out


def test_validation_measures_the_denoising_loss_alone(command: Command, config: Path) -> None:
    assert command(config, "training.output_dir=plain", "training.learning_rate=1e-30").status == 0
    assert command(config, "objective={type: contrastive, strength: 0.9}", "training.learning_rate=1e-30").status == 0
    plain, run = Run(Path("plain")), Run(Path("run"))
    assert run.values("validation/loss") == plain.values("validation/loss")
    assert run.values("loss") != plain.values("loss")
    assert run.values("objective/contrastive/denoising") == pytest.approx(plain.values("loss"))


def test_another_objective_is_refused_and_another_weight_is_noted(command: Command, config: Path) -> None:
    assert command(config, *stopping(3)).status == 143
    refused = command(config, "objective.type=contrastive")
    assert refused.status == 2 and "objective.type: 'denoising' -> 'contrastive'" in refused.words
    noted = command(config, "objective.weight=2")
    assert noted.status == 0 and "objective.weight: 1.0 -> 2" in noted.words


ALIGNED = "objective=[{type: denoising}, {type: repa, projector_width: 8, until: 0.7, pretrained_model_name: dino}]"


def test_cached_features_are_live_ones_and_a_stopped_run_continues(command: Command, config: Path) -> None:
    tiny_dinov2(config.parent / "dino")
    words = (config, ALIGNED, "data.random_flip=true", "cache.dir=cache", "training.max_steps=4")
    assert command(*words, "cache.mode=off", "training.output_dir=live").status == 0
    assert command("cache", *words).status == 0
    cached = sorted(Path("cache/features").glob("*/*.safetensors"))
    assert len(cached) == 2  # of images, and of mirrored ones
    assert command(*words, *stopping(2)).status == 143
    assert command(*words).status == 0
    live, run = Run(Path("live")), Run(Path("run"))
    assert run.learnt() == live.learnt()
    assert run.values("objective/repa") == live.values("objective/repa")
    assert len(run.values("objective/repa")) == 3
    assert sorted(Path("cache/features").glob("*/*.safetensors")) == cached


def test_routed_patches_are_the_same_in_a_run_that_continues(command: Command, config: Path) -> None:
    words = (config, "model.num_layers=3", "model.routed_share=0.5", "training.max_steps=4")
    assert command(*words, "training.output_dir=whole").status == 0
    assert command(*words, *stopping(2)).status == 143
    assert command(*words).status == 0
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()


def test_other_weights_of_its_network_are_refused(command: Command, config: Path) -> None:
    tiny_dinov2(config.parent / "dino")
    assert command(config, ALIGNED, *stopping(3)).status == 143
    tiny_dinov2(config.parent / "dino", seed=1)
    said = command(config, ALIGNED)
    assert said.status == 2
    assert "objective: the weights of the frozen networks of objectives are not those" in said.words


def test_a_model_without_states_to_read_is_refused_by_name(command: Command, config: Path) -> None:
    tiny_dinov2(config.parent / "dino")
    said = command(config, ALIGNED, "model.type=pixart", "scheduler={type: ddpm}")
    assert said.status == 2
    assert (
        "objective repa reads states inside the model (objective.tap is null), and this model offers none" in said.words
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["elastic_exact=false", "elastic_exact=true", "shard=2"])
def test_it_trains_on_two_processes(words: tuple[object, ...], command: Command, forks: Forks, way: str) -> None:
    """Under elastic_exact the same samples share a micro-batch, so that one and two processes learn the same bytes."""

    def run(given: tuple[object, ...], *more: str) -> tuple[int, ...]:
        return forks.run(*given, "training.device=cpu", f"training.{way}", *more, processes=2).statuses

    if way == "elastic_exact=true":
        one = (*words, "training.elastic_exact=true", "training.gradient_accumulation_steps=4")
        assert command(*one, "training.output_dir=whole").status == 0
    else:
        assert run(words, "training.output_dir=whole") == (0, 0)
    assert 0 not in run(with_stop(words, 4))
    assert run(with_stop(words, 0)) == (0, 0)
    assert Run(Path("run")).learnt() == Run(Path("whole")).learnt()


def test_another_split_of_a_step_compares_other_samples_which_is_noted(command: Command, config: Path) -> None:
    assert command(config, "objective.type=contrastive", *stopping(3)).status == 143
    split = ("training.batch_size=2", "training.gradient_accumulation_steps=2", "training.max_steps=6")
    said = command(config, "objective.type=contrastive", *split)
    assert said.status == 0 and "an objective that compares the samples of a micro-batch compares others" in said.words
