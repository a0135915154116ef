"""Runs on the pretended GPU, in a process of their own: ``python scenarios.py FOLDER``, with PRETENDED_CUDA set.

Each stage of a scenario writes what it recorded, or its error, to ``FOLDER/SCENARIO-STAGE.json``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretended_cuda import Ledger, Wait, pretended_cuda  # first, because it must precede torch

import numpy as np  # isort: skip
from builders import tiny_autoencoder_kl, tiny_clip, tiny_clip_pair, tiny_dinov2  # isort: skip
from forked_processes import fork_processes  # isort: skip
from PIL import Image  # isort: skip

import dit_run  # isort: skip
from dit_run.cli.main import main  # isort: skip

__all__ = ["SCENARIOS", "Scenario"]

UNWATCHED = ("validation.every_n_steps=null", "sampling.every_n_steps=null", "metrics=[]")
CONFIG = """
data: {type: custom, dataset_path: images, image_size: 32, train_split: 0.75, num_samples: null, random_flip: true}
model: {type: dit, hidden_size: 32, num_layers: 2, num_heads: 2, patch_size: 2, dropout: 0.1}
vae: {type: autoencoder_kl, pretrained_model_name: kl}
text_encoder: {type: clip, pretrained_model_name: clip}
scheduler: {type: flow_matching}
optimizer: {type: adamw}
lr_scheduler: {type: constant, warmup_steps: 0}
training:
  batch_size: 3
  max_steps: 4
  save_steps: 2
  save_every_n_epochs: null
  logging_steps: 4
  num_workers: 0
  num_threads: 1
  use_ema: true
  ema_decay: 0.5
  device: cuda
  deterministic: true
validation: {every_n_steps: 4, num_samples: 4, timestep_bins: 1}
sampling: {every_n_steps: 4, num_images: 2, steps: 5, guidance_scale: 3.0}
cache: {dir: cache}
trackers: []
"""


@dataclass(frozen=True)
class Scenario:
    """A config on the pretended GPU, and the stages that it goes through."""

    overrides: Sequence[str]
    stages: Sequence[str]


RANKS = 2
SCENARIOS = {
    # First: processes are forked before torch has computed anything.
    "ranks": Scenario(
        (
            "training.mixed_precision=bf16",
            "training.elastic_exact=true",
            "training.batch_size=2",
            "sampling.num_images=3",
        ),
        ("shared", "alone"),
    ),
    "cached": Scenario(
        (
            "training.mixed_precision=bf16",
            "training.gradient_accumulation_steps=2",
            "training.learning_rate_factors={blocks.*: 0.5}",
            "objective=[{type: denoising}, {type: contrastive, weight: 0.3, until: 0.5}]",
            "data.buckets=[32x32,24x40]",
            "metrics=[{type: frechet_distance, pretrained_model_name: dinov2, count: 4}, "
            "{type: clip_score, pretrained_model_name: clip_pair, count: 4}]",
        ),
        ("whole", "stopped", "continued", "sample", "plan"),
    ),
    "pixels": Scenario(
        (
            "training.mixed_precision=fp16",
            "training.use_ema=false",
            "training.deterministic=false",
            "optimizer.type=muon",
            "vae={type: identity}",
            "text_encoder={type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}",
            "model.norm=layernorm",
            "model.gradient_checkpointing=true",
            "model.patch_size=4",
            "metrics=[]",
        ),
        ("whole", "sample", "check"),
    ),
    "uncached": Scenario(
        (
            "training.mixed_precision=bf16",
            "training.max_steps=3",
            "training.batch_size=4",
            "training.use_ema=false",
            "cache.mode=off",
            "sampling.every_n_steps=null",
            "validation.every_n_steps=null",
        ),
        ("whole",),
    ),
    "fp32": Scenario(
        (
            'training.mixed_precision="no"',
            "optimizer.type=muon",
            "sampling.guidance_interval=[0.0,0.5]",
            "sampling.guidance_rescale=0.5",
        ),
        ("whole", "sample"),
    ),
}


def make_parts(folder: Path) -> None:
    """Write tiny encoders, and images of two shapes with captions."""
    for name, build in (
        ("kl", tiny_autoencoder_kl),
        ("clip", tiny_clip),
        ("clip_pair", tiny_clip_pair),
        ("dinov2", tiny_dinov2),
    ):
        (folder / name).mkdir()
        build(folder / name)
    (folder / "images").mkdir()
    for number in range(24):
        width, height = ((32, 32), (40, 24))[number % 2]
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        (folder / "images" / f"{number}.txt").write_text(f"image {number} " + "of a red bird " * (number % 3))
    (folder / "config.yaml").write_text(CONFIG)


def train(name: str, run: str, *others: str, stop_at: int | None = None) -> None:
    config = dit_run.load_config("config.yaml", *SCENARIOS[name].overrides, f"training.output_dir={run}", *others)

    def stop() -> bool:
        return stop_at is not None and (Path(run) / "checkpoints" / f"step-{stop_at:08d}").exists()

    dit_run.train(config, stop=stop)


def sample(name: str) -> None:
    dit_run.load_run(f"{name}-whole", device="cuda").sample(["a red bird", "image 3"], seed=1)


def command(word: str, name: str, *others: str) -> None:
    status = main([word, "config.yaml", *SCENARIOS[name].overrides, f"training.output_dir={name}-{word}", *others])
    if status:
        raise RuntimeError(f"dit-run {word} ended with status {status}")


def stage(name: str, which: str) -> None:
    """Do one stage of a scenario."""
    work: dict[str, Callable[[], None]] = {
        "whole": lambda: train(name, f"{name}-whole"),
        "shared": lambda: train(name, f"{name}-shared"),
        "alone": lambda: train(name, f"{name}-alone", f"training.gradient_accumulation_steps={RANKS}"),
        "stopped": lambda: train(name, f"{name}-run", *UNWATCHED, "training.async_save=false", stop_at=2),
        "continued": lambda: train(name, f"{name}-run", *UNWATCHED),
        "sample": lambda: sample(name),
        "check": lambda: command("check", name),
        "plan": lambda: command("plan", name, "training.gradient_accumulation_steps=1", "sampling.steps=2"),
    }
    work[which]()


def record(name: str, which: str) -> dict[str, object]:
    """Do one stage of a scenario; return what the ledger holds, and the error."""
    error = None
    with pretended_cuda() as ledger:
        try:
            stage(name, which)
        except BaseException:  # noqa: BLE001  the test reports it
            error = traceback.format_exc()
    return {"error": error, **facts(ledger)}


def record_ranks(name: str, which: str) -> None:
    """Do one stage of a scenario in forks of this process, as torchrun would start them; each writes its record."""
    fork_processes(RANKS, lambda: write(f"{name}-{which}-{os.environ['RANK']}", record(name, which)))
    del os.environ["WORLD_SIZE"]


def write(name: str, content: dict[str, object]) -> None:
    Path(f"{name}.json").write_text(json.dumps(content))


def facts(ledger: Ledger) -> dict[str, object]:
    def listed(waits: dict[Wait, int]) -> list[tuple[str, tuple[str, ...], int]]:
        return [(wait.kind, wait.stack, count) for wait, count in waits.items()]

    return {
        "waits": listed(ledger.waits),
        "attention": dict(ledger.attention),
        "launches": ledger.launches,
    }


if __name__ == "__main__":
    make_parts(Path())
    for scenario in sys.argv[1:] or SCENARIOS:
        for each in SCENARIOS[scenario].stages:
            if each == "shared":
                record_ranks(scenario, each)
            else:
                write(f"{scenario}-{each}", record(scenario, each))
