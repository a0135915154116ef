"""Photographs, birds and emoji, with an encoder and an autoencoder of the real kinds: train, stop, continue, sample.

Everything is done twice: on real data where it is at hand, and everywhere on folders that the tests make.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_clip, tiny_pipeline, tiny_taesd
from forks import Forks
from parquet_files import encoded, write_dataset, write_parquet
from PIL import Image
from runs import Command, Run, stopped_on_two_processes, stopped_twice, stopping
from tar_shards import write_shards

from dit_run.compute.devices import multiplies_bfloat16

ROOT = Path(__file__).resolve().parent.parent.parent

CONFIG = """
model: {hidden_size: 32, num_layers: 2, num_heads: 2, patch_size: 2}
training:
  output_dir: run
  batch_size: 4
  max_steps: STEPS
  save_steps: 10
  logging_steps: 5
  use_ema: true
  num_workers: 0
validation: {every_n_steps: 10, num_samples: 4, timestep_bins: 2}
sampling: {every_n_steps: 20, num_images: 2, steps: 4}
trackers: [{type: tensorboard}]
"""


PRECISION = "bf16" if multiplies_bfloat16(torch.device("cpu")) else "no"
"""Emulated, bfloat16 takes minutes here."""


@dataclass(frozen=True)
class Parts:
    """Local weights, and the channels of their latents."""

    clip: Path
    vae: Path
    kind: str
    channels: int

    @property
    def overrides(self) -> list[str]:
        return [
            f"text_encoder.pretrained_model_name={self.clip}",
            f"vae.type={self.kind}",
            f"vae.pretrained_model_name={self.vae}",
            f"model.in_channels={self.channels}",
            f"model.out_channels={self.channels}",
        ]


def trains_stops_continues_and_samples(
    command: Command, folder: Path, data: list[str], parts: Parts, *, steps: int, size: int
) -> None:
    """The whole life of a run on some data."""
    (folder / "config.yaml").write_text(CONFIG.replace("STEPS", str(steps)))
    stop = steps * 2 // 3 - 1
    words = (
        folder / "config.yaml", *(f"data.{value}" for value in data), f"data.image_size={size}", *parts.overrides,
        f"training.mixed_precision={PRECISION}",
        *stopping(stop),
    )  # fmt: skip
    stopped = command(*words)
    assert stopped.status == 143, stopped.words
    continued = command(*words)
    assert continued.status == 0, continued.words
    run = Run(folder / "run")
    assert run.status["state"] == "finished"
    assert run.status["step"] == steps
    assert f"step-{stop:08d}" in run.checkpoints
    assert all(np.isfinite(run.values("loss")))
    assert np.isfinite(run.values("validation/loss_ema")[-1])
    assert (run.path / "samples" / f"step-{steps:08d}.png").exists()

    sampled = command("sample", "run", "a small bird", "two dogs", "--output", "drawn", "--allow-plugins", "--steps", 3)
    assert sampled.status == 0, sampled.words
    drawn = [np.asarray(Image.open(path)) for path in sorted(Path("drawn").glob("0*.png"))]
    assert [image.shape for image in drawn] == [(size, size, 3)] * 2
    assert all(image.std() > 0 for image in drawn)


# --------------------------------------------------------------------------------------------------------- real data

REAL = {
    "coco": (["type=coco", "dataset_path={}/coco_subset", "num_samples=40"], 64),
    "coco in buckets": (
        ["type=coco", "dataset_path={}/coco_subset", "subsets=[train2017]", "num_samples=40", "buckets=auto"],
        64,
    ),
    "cub": (["type=cub", "dataset_path={}/cub_subset", "num_samples=40"], 64),
    "custom": (["type=custom", "dataset_path={}/emoji", "num_samples=40", "alpha_background=gray"], 64),
}


@pytest.fixture(scope="module")
def real_parts(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    vocabulary = next((shared_data / "weights" / "clip_tokenizer").glob("*.gz"))
    clip = tiny_clip(tmp_path_factory.mktemp("clip"), vocabulary=vocabulary)
    return Parts(clip, shared_data / "weights" / "taef2", "autoencoder_tiny", 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_data(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path, real_parts: Parts, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, size = REAL[name]
    data = [value.format(shared_data) for value in data]
    trains_stops_continues_and_samples(command, tmp_path, data, real_parts, steps=15, size=size)


IN_BUCKETS = {
    "coco": "type: coco, dataset_path: {}/coco_subset, subsets: [train2017], num_samples: 40, buckets: auto",
    "cub": "type: cub, dataset_path: {}/cub_subset, num_samples: 40, buckets: auto",
}
TINY = """
data: {{{data}, image_size: 32, random_flip: true}}
model: {{hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 1, dropout: 0.1}}
vae: {{type: autoencoder_kl, pretrained_model_name: vae}}
text_encoder: {{type: clip, pretrained_model_name: clip}}
training: {{max_steps: 15, save_steps: 5, batch_size: 2, learning_rate: 0.01, mixed_precision: "no", use_ema: true,
  num_workers: 0, num_threads: 1, output_dir: run}}
lr_scheduler: {{warmup_steps: 0}}
validation: {{every_n_steps: 15, num_samples: 4}}
sampling: {{every_n_steps: null}}
trackers: []
"""


@pytest.fixture
def tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the config of a tiny run on some data."""
    monkeypatch.chdir(tmp_path)
    tiny_clip(tmp_path / "clip")
    tiny_autoencoder_kl(tmp_path / "vae")

    def write(data: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY.format(data=data))
        return path

    return write


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_BUCKETS)
def test_photographs_in_buckets_continue_byte_for_byte_with_any_workers(
    command: Command, tiny_run: Callable[[str], Path], shared_data: Path, name: str
) -> None:
    whole, run = stopped_twice(command, [tiny_run(IN_BUCKETS[name].format(shared_data))], 6, 11)
    assert run.learnt() == whole.learnt()
    assert run.values("validation/loss_ema") == whole.values("validation/loss_ema") != []


@pytest.mark.slow
def test_photographs_in_buckets_continue_byte_for_byte_on_two_processes_that_were_killed(
    tiny_run: Callable[[str], Path], shared_data: Path, forks: Forks
) -> None:
    words = (tiny_run(IN_BUCKETS["coco"].format(shared_data)), "training.save_steps=10")
    whole, run = stopped_on_two_processes(forks, words, 12, "SIGKILL")
    assert run.checkpoints == whole.checkpoints == ["step-00000010", "step-00000015"]
    assert run.learnt() == whole.learnt()


# ---------------------------------------------------------------------------------------------------- made everywhere

CAPTIONS = ["a red bird", "a green bird on a branch", "two dogs", "a dog", "a bus in the street", "a plate"]


def picture(index: int) -> Image.Image:
    """One of a kind each: photographs, greyscale, palettes, transparency."""
    ramp = np.linspace(0, 255, 40 * 32 * 3).reshape(32, 40, 3)
    image = Image.fromarray(np.roll(ramp, index * 7, axis=1).astype(np.uint8))
    return image.convert(["RGB", "L", "P", "RGBA", "LA", "RGB"][index])


def make_coco(folder: Path) -> list[str]:
    (folder / "annotations").mkdir()
    for split, chosen in (("train2017", range(4)), ("val2017", range(4, 6))):
        (folder / split).mkdir()
        for index in chosen:
            picture(index).convert("RGB").save(folder / split / f"{index:012d}.jpg")
        content = {
            "images": [{"id": index, "file_name": f"{index:012d}.jpg"} for index in chosen],
            "annotations": [{"id": n, "image_id": n, "caption": CAPTIONS[n]} for n in chosen],
        }
        (folder / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    return ["type=coco", f"dataset_path={folder}"]


def make_cub(folder: Path) -> list[str]:
    home = folder / "CUB_200_2011"
    names = [f"001.Red_Bird/Red_Bird_{index:04d}.jpg" for index in range(6)]
    (home / "images" / "001.Red_Bird").mkdir(parents=True)
    (folder / "text_c10" / "001.Red_Bird").mkdir(parents=True)
    for index, name in enumerate(names):
        picture(index).convert("RGB").save(home / "images" / name)
        (folder / "text_c10" / name).with_suffix(".txt").write_text(f"{CAPTIONS[index]}\nthis bird is red\n")
    numbered = list(enumerate(names, 1))
    (home / "images.txt").write_text("".join(f"{number} {name}\n" for number, name in numbered))
    (home / "classes.txt").write_text("1 001.Red_Bird\n")
    (home / "image_class_labels.txt").write_text("".join(f"{number} 1\n" for number, _ in numbered))
    (home / "train_test_split.txt").write_text("".join(f"{number} {number % 2}\n" for number, _ in numbered))
    return ["type=cub", f"dataset_path={folder}"]


def make_custom(folder: Path) -> list[str]:
    for index, text in enumerate(CAPTIONS):
        picture(index).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(text)
    return ["type=custom", f"dataset_path={folder}"]


@pytest.fixture(scope="module")
def made_parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    clip = tiny_clip(tmp_path_factory.mktemp("clip"))
    return Parts(clip, tiny_taesd(tmp_path_factory.mktemp("taesd")), "autoencoder_tiny", 4)


def make_tars(folder: Path) -> list[str]:
    (folder / "members").mkdir()
    make_custom(folder / "members")
    images = sorted((folder / "members").glob("*.png"))
    write_shards(folder, [(image, [text]) for image, text in zip(images, CAPTIONS, strict=True)], 2)
    return ["type=webdataset", f"dataset_path={folder}/{{0..1}}.tar", "buckets=[32x32,16x32]"]


def make_parquet(folder: Path) -> list[str]:
    pytest.importorskip("pyarrow")
    images = [encoded(picture(index)) for index in range(6)]
    for number in range(2):
        own = slice(number * 3, number * 3 + 3)
        cells = [{"bytes": image, "path": None} for image in images[own]]
        write_parquet(folder / f"{number}.parquet", {"image": cells, "text": CAPTIONS[own]})
    words = ["tag_separator=' '", "shuffle_tags=true", "tag_dropout=0.2"]
    return ["type=parquet", f"dataset_path={folder}", *words]


@pytest.mark.slow
def test_real_emoji_in_parquet_continue_byte_for_byte_with_any_workers(
    command: Command, tmp_path: Path, tiny_run: Callable[[str], Path], shared_data: Path
) -> None:
    pytest.importorskip("pyarrow")
    lines = (shared_data / "emoji" / "metadata.jsonl").read_text().splitlines()[:40]
    for number in range(3):
        rows = [json.loads(line) for line in lines[number::3]]
        images = [(shared_data / "emoji" / row["file_name"]).read_bytes() for row in rows]
        write_parquet(
            tmp_path / f"{number}.parquet", {"jpg": images, "caption": [row["text"] for row in rows]}, group=16
        )
    config = tiny_run(f"type: parquet, dataset_path: '{tmp_path}/*.parquet', alpha_background: gray")
    whole, run = stopped_twice(command, [config], 6, 11)
    assert run.learnt() == whole.learnt()


def make_huggingface(folder: Path) -> list[str]:
    pytest.importorskip("datasets")
    columns = {"image": [encoded(picture(index)) for index in range(6)], "text": CAPTIONS}
    return ["type=huggingface", f"dataset_path={write_dataset(folder / 'saved', {'train': columns})}"]


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_parquet, make_huggingface])
def test_a_stopped_run_from_a_table_ends_like_one_that_was_not(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_parts: Parts,
    make: Callable[[Path], list[str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG.replace("STEPS", "6"))
    data = [f"data.{value}" for value in (*make(tmp_path / "data"), "image_size=32")]
    words = ("config.yaml", *data, *made_parts.overrides, f"training.mixed_precision={PRECISION}")
    stop = stopping(3)
    assert command(*words, "training.output_dir=whole").status == 0
    for status in (143, 0):
        result = command(*words, *stop, "training.output_dir=stopped", "training.num_workers=1")
        assert result.status == status, result.words
    assert Run(Path("stopped")).learnt() == Run(Path("whole")).learnt()


@pytest.mark.slow
def test_real_emoji_in_shards_continue_byte_for_byte_with_any_workers(
    command: Command, tmp_path: Path, tiny_run: Callable[[str], Path], shared_data: Path
) -> None:
    lines = (shared_data / "emoji" / "metadata.jsonl").read_text().splitlines()[:40]
    rows = list(map(json.loads, lines))
    write_shards(tmp_path, [(shared_data / "emoji" / row["file_name"], [row["text"]]) for row in rows], 3)
    config = tiny_run(f"type: webdataset, dataset_path: '{tmp_path}/*.tar', alpha_background: gray")
    whole, run = stopped_twice(command, [config], 6, 11)
    assert run.learnt() == whole.learnt()


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_coco, make_cub, make_custom, make_tars, make_parquet])
def test_made_data(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_parts: Parts,
    make: Callable[[Path], list[str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    trains_stops_continues_and_samples(command, tmp_path, data, made_parts, steps=6, size=32)


@pytest.mark.slow
def test_a_vae_with_a_posterior_trains_from_the_cache_and_without_it_alike(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_parts: Parts
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("STEPS", "3"))
    (tmp_path / "data").mkdir()
    parts = Parts(made_parts.clip, tiny_autoencoder_kl(tmp_path / "vae"), "autoencoder_kl", 4)
    data = [f"data.{value}" for value in (*make_custom(tmp_path / "data"), "image_size=32")]
    for mode in ("auto", "off"):
        result = command("config.yaml", *data, *parts.overrides, f"cache.mode={mode}", f"training.output_dir={mode}")
        assert result.status == 0, result.words
    assert Run(Path("auto")).learnt() == Run(Path("off")).learnt()


# ------------------------------------------------------------------------------------------------ the original's config

REFERENCE = ROOT.parent / "shared" / "reference_config.yaml"


@pytest.fixture
def reference() -> Path:
    if not REFERENCE.is_file():
        pytest.skip(f"the original's example is not at {REFERENCE}")
    return REFERENCE


def test_the_reference_config_validates_unchanged(command: Command, reference: Path) -> None:
    result = command("validate", reference)
    assert result.status == 0, result.words


@pytest.mark.slow
def test_the_reference_config_trains(
    command: Command, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With data and weights where it looks for them; only depth, batch and size are brought down."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "cub_subset").mkdir(parents=True)
    make_cub(tmp_path / "data" / "cub_subset")
    tiny_pipeline(tmp_path / "runwayml" / "stable-diffusion-v1-5")
    tiny_clip(tmp_path / "openai" / "clip-vit-base-patch32", width=512, layers=1)
    result = command(
        reference, "training.batch_size=1", "model.num_layers=1", "data.image_size=64", "training.logging_steps=1",
        *stopping(3),
    )  # fmt: skip
    assert result.status == 143, result.words
    run = Run(tmp_path / "outputs")
    assert run.values("learning_rate") == pytest.approx([0.0, 1e-4 / 500, 2e-4 / 500])
    assert run.values("loss")[0] == pytest.approx(1.0, abs=0.1)
    assert not run.file("ema.safetensors").exists()
    assert any(value.shape == (768, 512) for value in run.tensors().values())
