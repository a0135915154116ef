"""Folders in which the commands of pages work: data, models, configs and runs, all tiny, under the names in pages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from builders import hub_repository, tiny_autoencoder_kl, tiny_clip, tiny_clip_pair
from forks import Forks
from image_folders import write_images
from pages import ROOT
from PIL import Image
from safetensors.torch import load_file, save_file
from tar_shards import write_shards

__all__ = ["PageFolders", "write_hub"]

COUNT, SHAPES = 12, [(64, 48), (48, 64), (64, 64)]

SHORT = """
extends: {config}
model: {{hidden_size: 16, num_layers: 1, num_heads: 2}}
training:
  {{batch_size: 2, gradient_accumulation_steps: 1, max_steps: 4, num_epochs: null, save_steps: 2, logging_steps: 1,
   num_workers: 0, num_threads: 1, mixed_precision: "no", compile_model: false, device: cpu}}
validation: {{every_n_steps: 2, num_samples: 2}}
sampling: {{every_n_steps: 4, num_images: 2, steps: 2, prompts: []}}
cache: {{num_workers: 0}}
trackers: []
{more}
"""
"""A config of the project, shortened to a second."""

MORE = {
    "quickstart": "data: {size: 100, train_split: 0.8}\nmetrics: [{type: shapes, count: 4}]",
    "stage-512": "data: {image_size: 64}",
    "stage-1024": "data: {image_size: 128, upscale: true}",
}
SMALL = "data: {image_size: 32}"
"""Lines that only some configs have, and the line of all others."""

MINE = """
extends: configs/custom.yaml
data: {dataset_path: photos, train_split: 0.75}
training: {output_dir: runs/mine, use_ema: true, ema_decay: 0.9, max_steps: 4, save_steps: 2}
lr_scheduler: {type: constant, warmup_steps: 0}
metrics: [{type: clip_score, count: 2}]
"""
"""A config of the user's own."""

_LORA = ("adapter={type: lora, rank: 2}", "training.init_from=../runs/of photos")
RUNS = {
    "of photos": ("own.yaml", ()),
    "of shapes": ("configs/quickstart.yaml", ("training.use_ema=true",)),
    "of scores": ("own.yaml", ("data.dataset_path=scores", "model.scalars=[aesthetic_score,original_width]")),
    "of LoRA": ("own.yaml", _LORA),
}
"""Runs by their names: the config, and what differs from it."""
EXPORT = "export"
"""The exported run of photos."""


class PageFolders:
    """A folder that is filled once, and the folders of pages, which are copies of it."""

    def __init__(self, place: Path, forks: Forks) -> None:
        self._template, self._runs, self._forks = place / "template", place / "runs", forks
        self._template.mkdir()
        self._runs.mkdir()
        _write_data(self._template)
        tiny_clip(self._template / "clip")
        (self._template / "configs").mkdir()
        for config in sorted((ROOT / "configs").glob("*.yaml")):
            text = SHORT.format(config=config, more=MORE.get(config.stem, SMALL))
            (self._template / "configs" / config.name).write_text(text)
        (self._template / "own.yaml").write_text(MINE)

    def make(self, folder: Path, given: Mapping[str, str]) -> Path:
        """Fill a folder, and put runs there and what the template has under the names of a page."""
        shutil.copytree(self._template, folder)
        for target, source in given.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            place = self._run(source) if source in RUNS else self._exported() if source == EXPORT else folder / source
            (shutil.copytree if place.is_dir() else shutil.copy)(place, folder / target)
        return folder

    def _run(self, name: str) -> Path:
        """Return the folder of a run, which is trained when it is first asked for."""
        config, changes = RUNS[name]
        path = self._runs / name
        return self._made(path, config, f"training.output_dir={path}", *changes)

    def _exported(self) -> Path:
        return self._made(self._runs / EXPORT, "export", self._run("of photos"), self._runs / EXPORT)

    def _made(self, path: Path, *words: object) -> Path:
        if not path.exists():
            ended = self._forks.run_at(self._template, os.environ, *words)
            assert ended.statuses == (0,), ended.output
        return path


def _write_data(folder: Path) -> None:
    write_images(folder / "photos", COUNT, SHAPES, "a photo of number {}\n{} is its number")
    for path in (folder / "photos").glob("*.png"):  # see _decode_to_grey
        with Image.open(path) as image:
            Image.blend(image, Image.new("RGB", image.size, "gray"), 0.9).save(path)
    for name in ("data", "docs", "schemas"):
        (folder / name).mkdir()
    for name in ("custom", "photos"):
        shutil.copytree(folder / "photos", folder / "data" / name)
    images = sorted((folder / "photos").glob("*.png"))
    write_shards(folder / "shards", [(path, (f"image {path.stem}",)) for path in images], 2)
    for name in ("scores", "data/emoji"):
        _write_listed(folder / name, images)
    _write_coco(folder / "data" / "coco", images)
    _write_cub(folder / "data" / "cub", images)


def _write_listed(folder: Path, images: list[Path]) -> None:
    folder.mkdir()
    rows = []
    for number, image in enumerate(images):
        shutil.copy(image, folder)
        rows.append(json.dumps({"file_name": image.name, "text": f"emoji {number}", "aesthetic_score": number / 2}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))


def _write_coco(folder: Path, images: list[Path]) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split, own in (("train2017", images[:8]), ("val2017", images[8:])):
        (folder / split).mkdir()
        for image in own:
            shutil.copy(image, folder / split)
        content = {
            "images": [{"id": number, "file_name": image.name} for number, image in enumerate(own)],
            "annotations": [{"image_id": number, "caption": f"photo {number}"} for number in range(len(own))],
        }
        (folder / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))


def _write_cub(folder: Path, images: list[Path]) -> None:
    species, home = "001.Black_footed_Albatross", folder / "CUB_200_2011"
    (home / "images" / species).mkdir(parents=True)
    (folder / "text_c10" / species).mkdir(parents=True)
    for image in images:
        shutil.copy(image, home / "images" / species)
        (folder / "text_c10" / species / f"{image.stem}.txt").write_text("a large bird\n")
    tables = {
        "images": [f"{species}/{image.name}" for image in images],
        "image_class_labels": ["1"] * len(images),
        "train_test_split": ["1"] * len(images),
        "classes": [species],
    }
    for name, rows in tables.items():
        (home / f"{name}.txt").write_text("".join(f"{number} {row}\n" for number, row in enumerate(rows, 1)))


def write_hub(cache: Path) -> Path:
    """Write tiny models under the names that they have on the hub in configs and pages, and return their folder."""
    blocks = {"block_out_channels": (8, 8, 8, 16), "sample_size": 256, "scaling_factor": 0.18215}
    kinds = {
        f"{way}_block_types": (f"{way.title()}{name}Block2D",) * 4
        for way, name in (("down", "Encoder"), ("up", "Decoder"))
    }
    vae = hub_repository(cache, "stable-diffusion-v1-5", "stable-diffusion-v1-5") / "vae"
    tiny_autoencoder_kl(vae, **blocks, **kinds)
    _decode_to_grey(vae / "diffusion_pytorch_model.safetensors")
    tiny_clip(hub_repository(cache, "clip-vit-large-patch14", "openai"))
    tiny_clip_pair(hub_repository(cache, "clip-vit-base-patch32", "openai"))
    return cache


def _decode_to_grey(weights: Path) -> None:
    """Let a VAE decode to mid-grey, so that images of little contrast come back from it, as dit-run check asks."""
    last = "decoder.conv_out."
    tensors = load_file(weights)
    save_file({name: value * (not name.startswith(last)) for name, value in tensors.items()}, weights)
