"""Every built-in component keeps the contract of its kind: the tests that a stranger's component has to pass."""

from __future__ import annotations

import inspect
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import (
    tiny_autoencoder_kl,
    tiny_clip,
    tiny_clip_pair,
    tiny_dc_ae,
    tiny_detector,
    tiny_dinov2,
    tiny_taesd,
    tiny_vq,
)
from image_transformers import CONFIGS
from parquet_files import write_dataset, write_parquet
from PIL import Image
from text_models import tiny_text_model

from dit_run.registry.components import Component, Kind
from dit_run.registry.factories import resolve
from dit_run.registry.registry import discover
from dit_run.testing.contract_error import Subject, check_all
from dit_run.testing.contract_table import CONTRACTS
from dit_run.testing.option_checks import reads_every_option
from dit_run.testing.plugin_contract import COMPONENT_CHECKS, PLUGIN_CHECKS

BUILT_IN = discover(third_party=False)
COMPONENTS = [component for plugin in BUILT_IN.plugins for component in plugin.components]
SMALL = {"hidden_size": 32, "num_layers": 2, "num_heads": 2}


def captioned_folder(folder: Path) -> Path:
    """Three pictures with captions."""
    folder.mkdir(parents=True)
    for index, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (20, 16), colour).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a {colour} picture")
    return folder


def coco(folder: Path) -> Path:
    captioned_folder(folder / "val2017")
    images = [{"id": index, "file_name": f"{index}.png"} for index in range(3)]
    captions = [{"id": index, "image_id": index, "caption": f"picture {index}"} for index in range(3)]
    (folder / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": captions})
    (folder / "annotations" / "captions_val2017.json").write_text(text)
    return folder


def tars(folder: Path) -> Path:
    captioned_folder(folder / "members")
    with tarfile.open(folder / "0.tar", "w") as archive:
        for path in sorted((folder / "members").iterdir()):
            archive.add(path, path.name)
    return folder


def parquet(folder: Path) -> Path:
    pytest.importorskip("pyarrow")
    files = sorted(captioned_folder(folder / "members").glob("*.png"))
    texts = [path.with_suffix(".txt").read_text() for path in files]
    return write_parquet(folder / "0.parquet", {"image": [path.read_bytes() for path in files], "text": texts})


def huggingface(folder: Path) -> Path:
    pytest.importorskip("datasets")
    files = sorted(captioned_folder(folder / "members").glob("*.png"))
    texts = [path.with_suffix(".txt").read_text() for path in files]
    columns = {"image": [path.read_bytes() for path in files], "text": texts}
    return write_dataset(folder / "saved", {"train": columns})


def cub(folder: Path) -> Path:
    home, name = folder / "CUB_200_2011", "001.Black_footed_Albatross"
    captioned_folder(home / "images" / name)
    (home / "images.txt").write_text("".join(f"{index + 1} {name}/{index}.png\n" for index in range(3)))
    (home / "classes.txt").write_text(f"1 {name}\n")
    (home / "image_class_labels.txt").write_text("1 1\n2 1\n3 1\n")
    (home / "train_test_split.txt").write_text("1 1\n2 1\n3 0\n")
    return folder


def with_package(package: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    """Return options of a component that needs an optional package; without it the test is skipped."""

    def prepare(folder: Path) -> dict[str, Any]:
        pytest.importorskip(package)
        return options

    return prepare


def mlflow(folder: Path) -> dict[str, Any]:
    pytest.importorskip("mlflow", exc_type=ImportError)
    return {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}"}


OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "adapter.lora": with_package("peft", rank=2, dropout=0.1),
    "objective.perceptual": lambda folder: {"pretrained_model_name": tiny_dinov2(folder / "dino")},
    "objective.repa": lambda folder: {"pretrained_model_name": tiny_dinov2(folder / "dino"), "projector_width": 8},
    "optimizer.adamw_8bit": with_package("bitsandbytes", min_8bit_size=16),
    "optimizer.prodigy": with_package("prodigyopt"),
    "optimizer.schedule_free_adamw": with_package("schedulefree"),
    "optimizer.torch": lambda folder: {"name": "RAdam"},
    "tracker.mlflow": lambda folder: mlflow(folder),
    "tracker.wandb": with_package("wandb", mode="offline"),
    "dataset.shapes": lambda folder: {"size": 40},
    "dataset.mixture": lambda folder: {
        "parts": [{"type": "custom", "dataset_path": captioned_folder(folder / "mixed")}, {"type": "shapes", "size": 9}]
    },
    "dataset.webdataset": lambda folder: {"dataset_path": tars(folder / "tars")},
    "dataset.huggingface": lambda folder: {"dataset_path": huggingface(folder / "hf")},
    "dataset.parquet": lambda folder: {"dataset_path": parquet(folder / "parquet")},
    "dataset.coco": lambda folder: {"dataset_path": coco(folder / "coco")},
    "dataset.cub": lambda folder: {"dataset_path": cub(folder / "cub")},
    "dataset.custom": lambda folder: {"dataset_path": captioned_folder(folder / "custom")},
    "text_encoder.clip": lambda folder: {"pretrained_model_name": tiny_clip(folder / "clip")},
    "text_encoder.transformers": lambda folder: {"pretrained_model_name": tiny_text_model(folder / "t5", "t5")},
    "text_encoder.words": lambda folder: {"width": 16, "num_layers": 1, "num_heads": 2, "buckets": 64},
    "vae.autoencoder_kl": lambda folder: {"pretrained_model_name": tiny_autoencoder_kl(folder / "kl")},
    "vae.autoencoder_dc": lambda folder: {"pretrained_model_name": tiny_dc_ae(folder / "dc")},
    "vae.diffusers_autoencoder": lambda folder: {"pretrained_model_name": tiny_vq(folder / "vq")},
    "vae.autoencoder_tiny": lambda folder: {"pretrained_model_name": tiny_taesd(folder / "taesd")},
    "metric.clip_score": lambda folder: {"pretrained_model_name": tiny_clip_pair(folder / "pair"), "count": 4},
    "metric.cmmd": lambda folder: {"pretrained_model_name": tiny_clip_pair(folder / "pair"), "count": 8},
    "metric.frechet_distance": lambda folder: {"pretrained_model_name": tiny_clip_pair(folder / "pair"), "count": 8},
    "metric.kernel_distance": lambda folder: {"pretrained_model_name": tiny_clip_pair(folder / "pair"), "count": 8},
    "metric.objects": lambda folder: {"pretrained_model_name": tiny_detector(folder / "finder"), "count": 8},
    "model.dit": lambda folder: SMALL,
    "model.diffusers_transformer": lambda folder: {
        "class_name": "PixArtTransformer2DModel",
        "config": CONFIGS["PixArtTransformer2DModel"],
    },
    "model.pixart": lambda folder: SMALL,
}
"""What a component is tested with where its defaults need a download or much time."""


def named(components: list[Component]) -> list[Any]:
    return [pytest.param(component, id=component.name) for component in components]


@pytest.fixture
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    component: Component = request.getfixturevalue("component")
    return OPTIONS.get(component.name, lambda folder: {})(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("component", named(COMPONENTS))
def test_the_contract_of_its_kind(component: Component, options: dict[str, Any]) -> None:
    check_all(Subject.of(component.kind, component, options), CONTRACTS[component.kind])


@pytest.mark.parametrize("component", named(COMPONENTS))
def test_what_every_component_must_be(component: Component) -> None:
    for check in COMPONENT_CHECKS:
        check(component)


@pytest.mark.parametrize("component", named(COMPONENTS))
def test_no_option_is_dead(component: Component, options: dict[str, Any]) -> None:
    reads_every_option(Subject.of(component.kind, component, options), CONDITIONAL)


CONDITIONAL = ("vae.autoencoder_kl.family",)
"""Options that are read only with other values of others: single files."""


@pytest.mark.parametrize("plugin", BUILT_IN.plugins, ids=str)
def test_the_built_in_plugin_imports_nothing_heavy(plugin: Any) -> None:
    for check in PLUGIN_CHECKS:
        check(plugin)


@pytest.mark.parametrize("component", named(COMPONENTS))
def test_factories_ask_for_what_their_kind_documents(component: Component) -> None:
    names = list(inspect.signature(resolve(component.factory)).parameters)[1:]
    assert set(names) <= set(component.kind.spec.runtime)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_contract_test(kind: Kind) -> None:
    assert callable(resolve(kind.contract))
    assert CONTRACTS[kind]
