"""Datasets of the library datasets: samples of a saved folder, and what is asked of the Hub."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from parquet_files import encoded, write_dataset
from PIL import Image

from dit_run.data.images import read_image
from dit_run.problems import InputError
from dit_run_plugins.datasets.huggingface import HuggingFace, build


@pytest.fixture(autouse=True, scope="module")
def package() -> None:
    """Skip these tests without datasets. The import is slow, so that no process that only collects them has it."""
    pytest.importorskip("datasets")


def image(number: int) -> bytes:
    return encoded(Image.new("RGB", (12, 8), (number, 0, 0)))


def made(path: object, **options: Any) -> Any:
    skip = options.pop("on_bad_sample", "error")
    return build(HuggingFace(dataset_path=str(path), **options), on_bad_sample=skip)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    columns = {"image": [image(number) for number in range(4)], "text": ["no 0", "no 1", None, "no 3"]}
    few = {"image": [image(9)], "text": ["nine"]}
    return write_dataset(tmp_path / "saved", {"train": columns, "few": few})


def test_each_row_of_the_split_is_a_sample(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(made(folder, split="few")))
    assert (len(dataset), dataset[0].key, dataset[0].captions) == (1, "0", ("nine",))
    assert (read_image(dataset[0].image, (8, 8))[..., 0] == 9).all()


def test_rows_without_a_caption_are_named_or_left_out(folder: Path) -> None:
    with pytest.raises(InputError, match=r"saved: row 2 has no caption: "):
        made(folder)
    dataset = made(folder, on_bad_sample="skip")
    assert [dataset[number].key for number in range(3)] == ["0", "1", "3"]
    assert dataset[2].image.read() == image(3)
    assert [(row.reason, row.count) for row in dataset.left_out] == [("row without a caption", 1)]


def test_images_are_read_from_bytes_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image(5))
    cells = [{"bytes": image(6), "path": None}, {"bytes": None, "path": str(tmp_path / "a.png")}]
    dataset = made(write_dataset(tmp_path / "saved", {"train": {"image": cells, "text": ["a", "b"]}}))
    assert dataset[1].image == tmp_path / "a.png"
    assert [int(read_image(dataset[number].image, (8, 8))[0, 0, 0]) for number in (0, 1)] == [6, 5]


def test_a_table_is_known_by_its_files_and_the_columns_that_are_read(tmp_path: Path) -> None:
    columns = {"image": [image(0), image(1)], "text": ["a", "b"], "prompt": ["c", "d"], "score": [1.0, 2.0]}
    first, again = (made(write_dataset(tmp_path / name, {"train": columns})) for name in ("first", "again"))
    assert list(first.keys()) == ["0", "1"]
    assert first.identity == made(tmp_path / "first").identity != again.identity
    assert first.identity != made(tmp_path / "first", caption_columns=("prompt",)).identity
    scored = build(HuggingFace(dataset_path=str(tmp_path / "first")), scalars=("score",))
    assert first.identity != scored.identity


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.split: .* has no split 'test'; it has train, few"):
        made(folder, split="test")
    with pytest.raises(InputError, match=r"data\.image_column: .* has no column 'x'; its columns are image "):
        made(folder, image_column="x")
    with pytest.raises(InputError, match=r"cannot load .*; expected a folder that save_to_disk wrote: "):
        made(tmp_path)


def test_a_name_is_loaded_from_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load_dataset(path: str, **words: Any) -> Any:
        asked.append((path, words))
        return datasets.load_from_disk(folder)["few"]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(made("some/birds", split="few", subset="small", revision="v2")) == 1
    assert asked == [("some/birds", {"split": "few", "name": "small", "revision": "v2"})]


def test_without_its_package_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the package datasets, .*: pip install 'dit-run\[huggingface\]'"):
        made(folder)


def test_columns_of_numbers_become_the_scalars_that_are_asked_for(tmp_path: Path) -> None:
    columns = {"image": [image(0), image(1)], "text": ["a", "b"], "score": [1.5, None]}
    saved = write_dataset(tmp_path / "scored", {"train": columns})
    dataset = build(HuggingFace(dataset_path=str(saved)), scalars=("score",))
    assert [dataset[number].scalars for number in range(2)] == [{"score": 1.5}, {}]
