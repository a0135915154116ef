"""No key is dead: each option of each built-in, changed alone, changes a tiny run, or says why it does not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_clip, tiny_clip_pair, tiny_dc_ae, tiny_detector, tiny_taesd, tiny_vq
from dead_keys import CHANGES, ELSEWHERE, PACKAGES, SETTINGS, Change
from image_transformers import tiny_transformer
from parquet_files import write_dataset, write_parquet
from PIL import Image
from runs import CONFIG, Run
from text_models import tiny_text_model

from dit_run import Kind
from dit_run.cli.main import main
from dit_run.options import options_of
from dit_run.registry.registry import discover
from dit_run.settings import SECTIONS

ROOT = Path(__file__).resolve().parent.parent.parent
EARLIER = ("training.seed=5", "training.output_dir=earlier")
"""A run whose weights others begin with."""
TIMES = ("time", "images_per_second", "tokens_per_second", "memory_gb")


def every_option() -> Iterator[str]:
    """The name of each option: ``training.seed``, ``data.crop``, ``optimizer.adamw.betas``."""
    for section, cls in SECTIONS.items():
        yield from (f"{section}.{option.name}" for option in options_of(cls))
    for kind in Kind:
        yield from (f"{kind.section}.{option.name}" for option in kind.spec.common_options())
    registry = discover(third_party=False)
    for kind in Kind:
        for component in registry.components(kind).values():
            yield from (f"{component.name}.{option.name}" for option in options_of(component.options))


def test_every_option_is_changed_or_excused() -> None:
    assert sorted(every_option()) == sorted([*CHANGES, *ELSEWHERE])


@pytest.mark.parametrize("name", list(ELSEWHERE))
def test_what_is_seen_elsewhere_is_tested_there(name: str) -> None:
    file, _, test = ELSEWHERE[name][1].partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()


def test_every_built_in_takes_part() -> None:
    registry = discover(third_party=False)
    assert sorted(SETTINGS) == sorted(c.name for kind in Kind for c in registry.components(kind).values())


# --------------------------------------------------------------------------------------------------------- the runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the tiny config, two data sets of each layout, and two of each kind of weights."""
    folder = tmp_path_factory.mktemp("dead_keys")
    (folder / "tiny.yaml").write_text(CONFIG)
    for number, suffix in enumerate(["", "2"]):
        _custom(folder / f"custom{suffix}", number)
        _coco(folder / f"coco{suffix}", number)
        _cub(folder / f"cub{suffix}", number)
        _tars(folder / f"tars{suffix}", number)
        _parquet(folder / f"parquet{suffix}", folder / f"custom{suffix}")
        tiny_clip(folder / f"clip{suffix}", seed=number)
        tiny_autoencoder_kl(folder / f"kl{suffix}", seed=number)
        tiny_taesd(folder / f"taesd{suffix}", seed=number)
        tiny_dc_ae(folder / f"dc{suffix}", seed=number)
        tiny_vq(folder / f"vq{suffix}", seed=number)
        tiny_clip_pair(folder / f"eye{suffix}", seed=number)
        tiny_detector(folder / f"finder{suffix}", seed=number)
        tiny_text_model(folder / f"t5{suffix}", "t5", seed=number)
        _pixart(folder / f"px{suffix}", number)
    for name in ("clip", "t5"):
        shutil.copytree(folder / f"{name}2", folder / name / "other")
    for name in ("clip", "kl", "taesd", "eye", "finder", "t5", "dc", "vq", "px"):
        _hub_cache(folder, name)
    _custom(folder / "broken", 0)
    _custom(folder / "mixed", 0)
    Image.new("RGB", (12, 40)).save(folder / "mixed" / "8.png")
    (folder / "mixed" / "8.txt").write_text("a narrow image")
    (folder / "broken" / "3.png").write_bytes(b"no picture")
    return folder


def _pixart(folder: Path, seed: int) -> None:
    """What the options of the tiny pixart make, too."""
    shape = {"patch_size": 4, "in_channels": 3, "out_channels": 3, "caption_channels": 8, "sample_size": 16}
    tiny_transformer(folder, "PixArtTransformer2DModel", seed=seed, **shape)


def _hub_cache(folder: Path, name: str) -> None:
    """What a hub's cache would hold of ``tiny/NAME``: one revision as ``main``, one as ``other``."""
    repository = folder / "hub" / f"models--tiny--{name}"
    (repository / "refs").mkdir(parents=True)
    for reference, commit, source in (("main", "0" * 40, name), ("other", "1" * 40, f"{name}2")):
        (repository / "refs" / reference).write_text(commit)
        shutil.copytree(folder / source, repository / "snapshots" / commit)


def _picture(path: Path, number: int, mode: str = "RGB") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.radial_gradient("L").resize((24, 16)).rotate(number * 7)
    bands = [picture.point(lambda v, k=k: (v * (k + 2) + number * 31) % 256) for k in range(3)]
    if mode == "RGBA":
        bands.append(picture)
    Image.merge(mode, bands).save(path)
    return path.name


def _custom(root: Path, number: int) -> None:
    for index in range(8):
        _picture(root / f"{index}.png", 10 * number + index, "RGBA")
        (root / f"{index}.txt").write_text(f"picture {index} of {number}\nnumber {index}")


def _tars(root: Path, number: int) -> None:
    _custom(root / "members", number)
    (root / "members" / "0.txt").write_text("one caption\nanother caption")
    with tarfile.open(root / "0.tar", "w") as archive:
        for path in sorted((root / "members").iterdir()):
            archive.add(path, path.name)


def _parquet(root: Path, custom: Path) -> None:
    if find_spec("pyarrow") is None:
        return
    images = [path.read_bytes() for path in sorted(custom.glob("*.png"))]
    texts = [path.read_text() for path in sorted(custom.glob("*.txt"))]
    columns = {"image": images, "text": texts, "other_image": images[::-1], "other_text": texts[::-1]}
    write_parquet(root / "0.parquet", columns)
    if find_spec("datasets") is not None:
        reversed_columns = {name: values[::-1] for name, values in columns.items()}
        write_dataset(Path(str(root).replace("parquet", "hf")), {"train": columns, "other": reversed_columns})


def _coco(root: Path, number: int) -> None:
    for subset in ("train2017", "val2017"):
        images, captions = [], []
        for index in range(6):
            name = _picture(root / subset / f"{index:012d}.jpg", 10 * number + index)
            images.append({"id": index, "file_name": name, "width": 24, "height": 16})
            captions.append({"id": index, "image_id": index, "caption": f"{subset} {index} of {number}"})
        (root / "annotations").mkdir(exist_ok=True)
        content = json.dumps({"images": images, "annotations": captions})
        (root / "annotations" / f"captions_{subset}.json").write_text(content)


def _cub(root: Path, number: int) -> None:
    base = root / "CUB_200_2011"
    lines: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    for index in range(1, 9):
        name = _picture(base / "images" / "001.Albatross" / f"bird_{index}.jpg", 10 * number + index)
        lines["images"].append(f"{index} 001.Albatross/{name}")
        lines["image_class_labels"].append(f"{index} 1")
        lines["train_test_split"].append(f"{index} {index % 2}")
    for name, content in lines.items():
        (base / f"{name}.txt").write_text("\n".join(content) + "\n")
    (base / "classes.txt").write_text("1 001.Albatross\n")


@pytest.fixture(scope="module")
def observed(folder: Path) -> Callable[[tuple[str, ...]], dict[str, Any]]:
    """What a run under some arguments leaves; equal arguments run once."""
    known: dict[tuple[str, ...], dict[str, Any]] = {}
    numbers = itertools.count()

    def observe(arguments: tuple[str, ...]) -> dict[str, Any]:
        if any("init_from=earlier" in argument for argument in arguments):
            observe(EARLIER)
        if arguments not in known:
            known[arguments] = _observe(folder, arguments, f"run{next(numbers)}")
        return known[arguments]

    return observe


def _observe(folder: Path, arguments: tuple[str, ...], name: str) -> dict[str, Any]:
    here = set(folder.iterdir())
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        threads = _recorded(patch, "set_num_threads")
        determinism = _recorded(patch, "use_deterministic_algorithms")
        usual = (f"training.output_dir={name}", f"cache.dir=cache-{name}")
        status = main(["train", "tiny.yaml", *usual, *arguments])
    if status:
        return {"status": status, "said": said.getvalue()}
    made = sorted(path.name.replace(name, "usual") for path in set(folder.iterdir()) - here)
    run = Run(next(path for path in set(folder.iterdir()) - here if (path / "status.json").exists()))
    return {
        "status": status,
        "folders": made,
        "threads": threads[:1],
        "deterministic": any(determinism),
        "tensors": {str(p.relative_to(run.path)): _digest(p) for p in sorted(run.path.rglob("*.safetensors"))},
        "pictures": {path.name: _pixels(path) for path in sorted((run.path / "samples").glob("*.png"))},
        "metrics": [{key: value for key, value in line.items() if key not in TIMES} for line in run.metrics],
        "trackers": sorted(path.name for path in run.path.iterdir() if path.suffix == ".csv"),
    }


def _recorded(patch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The first arguments of calls of a function of torch: a run restores at its end what it sets."""
    values: list[Any] = []
    function = getattr(torch, name)

    def recording(value: Any, **rest: Any) -> None:
        values.append(value)
        function(value, **rest)

    patch.setattr(torch, name, recording)
    return values


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pixels(path: Path) -> str:
    with Image.open(path) as picture:
        return hashlib.sha256(picture.tobytes()).hexdigest()


def _skip_without_package(component: str) -> None:
    if component in PACKAGES:
        pytest.importorskip(PACKAGES[component], exc_type=ImportError)


def _given(name: str, change: Change) -> tuple[str, ...]:
    component = name.rpartition(".")[0]
    return (*SETTINGS.get(component, ()), *change.given)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CHANGES))
def test_a_changed_option_changes_the_run(name: str, observed: Callable[..., dict[str, Any]], folder: Path) -> None:
    _skip_without_package(name.rpartition(".")[0])
    change = CHANGES[name]
    before = observed(_given(name, change))
    after = observed((*_given(name, change), change.argument))
    assert before["status"] == 0
    assert after["status"] == (2 if change.refused else 0)
    assert before != after
    if change.refused:
        assert change.argument.partition("=")[0] in after["said"]


@pytest.mark.slow
def test_the_same_run_twice_is_the_same(folder: Path) -> None:
    assert _observe(folder, (), "once") == _observe(folder, (), "twice")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_built_in_trains(name: str, observed: Callable[..., dict[str, Any]]) -> None:
    _skip_without_package(name)
    assert observed(SETTINGS[name])["status"] == 0
