"""Parquet files: samples and captions of both layouts, images read by row group, errors that name file and columns."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parquet_files import encoded, write_parquet
from PIL import Image

from dit_run.cache.file_digests import FileDigests
from dit_run.data.images import image_size, read_image
from dit_run.problems import InputError
from dit_run.protocols import FilePart
from dit_run_plugins.datasets.parquet import Parquet, build

pytest.importorskip("pyarrow")


def image(number: int) -> bytes:
    return encoded(Image.new("RGB", (12, 8), (number, 0, 0)))


def made(path: object, **options: Any) -> Any:
    skip = options.pop("on_bad_sample", "error")
    return build(Parquet(dataset_path=str(path), **options), on_bad_sample=skip)


def contents(dataset: Any) -> dict[str, tuple[str, ...]]:
    return {sample.key: sample.captions for sample in (dataset[number] for number in range(len(dataset)))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five rows as img2dataset writes them, in row groups of two, and two rows as Hugging Face does."""
    numbers = range(5)
    write_parquet(tmp_path / "a.parquet", {"jpg": [image(n) for n in numbers], "caption": [f"no {n}" for n in numbers]})
    cells = [{"bytes": image(n), "path": None} for n in (5, 6)]
    write_parquet(tmp_path / "b.parquet", {"image": cells, "text": [["five", " a\n5 "], ["six"]]})
    return tmp_path


def test_each_row_is_a_sample(folder: Path) -> None:
    found = contents(made(folder))
    assert found == {
        **{f"a.parquet/{number}": (f"no {number}",) for number in range(5)},
        "b.parquet/0": ("five", "a 5"),
        "b.parquet/1": ("six",),
    }
    assert contents(made(folder / "{b,a}.parquet")) == found
    assert list(contents(made(folder / "b.parquet"))) == ["b.parquet/0", "b.parquet/1"]


def test_images_are_those_of_their_rows_in_any_order_and_process(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(made(folder)))
    for number in (6, 0, 3, 5, 1, 4, 2, 4):
        pixels = read_image(dataset[number].image, (8, 8))
        assert (pixels == np.array([number, 0, 0])).all()
    assert image_size(dataset[0].image) == (8, 12)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda number: dataset[number].image.read(), range(7))) == [image(n) for n in range(7)]


def test_the_digest_of_an_image_is_that_of_its_bytes(folder: Path, tmp_path: Path) -> None:
    dataset = made(folder)
    images = [dataset[number].image for number in range(7)]
    assert all(isinstance(each, FilePart) for each in images)
    assert len({(each.path, each.place) for each in images}) == 7
    (tmp_path / "alone.png").write_bytes(image(3))
    with FileDigests(tmp_path / "digests.sqlite") as digests:
        found = [each for each in digests.digests([images[3], tmp_path / "alone.png"]) if not isinstance(each, OSError)]
    assert found[0][1] == found[1][1]


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        {"text": ["no"], "image": [image(1)], "photo": [image(2)], "de": ["ein Bild"], "en": [["a"]]},
    )
    dataset = made(path, image_column="photo", caption_columns=("en", "de"))
    assert dataset[0].captions == ("a", "ein Bild")
    assert read_image(dataset[0].image, (8, 8))[0, 0, 0] == 2


def test_a_column_of_weights_weights_the_captions(tmp_path: Path) -> None:
    columns = {"image": [image(1)] * 2, "text": [["a", "b"], ["c", "d"]]}
    dataset = made(write_parquet(tmp_path / "a.parquet", {**columns, "weights": [[1.0, 3.0], None]}))
    assert [dataset[number].weights for number in (0, 1)] == [(1.0, 3.0), ()]
    write_parquet(tmp_path / "a.parquet", {**columns, "weights": [[1, 3], [1, 0]]})
    with pytest.raises(
        InputError, match=r"a\.parquet: row 1: 'weights' must be a number above 0 for each caption, not 0"
    ):
        made(tmp_path)


def test_columns_of_numbers_become_the_scalars_that_are_asked_for(tmp_path: Path) -> None:
    columns = {"image": [image(1)] * 3, "text": ["a", "b", "c"], "score": [1.5, None, 2.0], "width": [640, 320, 1]}
    write_parquet(tmp_path / "a.parquet", columns)
    dataset = build(Parquet(dataset_path=str(tmp_path)), scalars=("score", "width", "absent"))
    found = [dataset[number].scalars for number in range(3)]
    assert found == [{"score": 1.5, "width": 640.0}, {"width": 320.0}, {"score": 2.0, "width": 1.0}]
    with pytest.raises(InputError, match=r"a\.parquet: row 0: 'text' must be a number"):
        build(Parquet(dataset_path=str(tmp_path)), scalars=("text",))


def test_rows_without_a_caption_are_named_or_left_out(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", {"jpg": [image(n) for n in range(4)], "caption": ["a", None, " ", "d"]}
    )
    message = r"a\.parquet: row 1 has no caption: .*on_bad_sample: skip to leave out such rows; 2 of 4 rows have none"
    with pytest.raises(InputError, match=message):
        made(path)
    dataset = made(path, on_bad_sample="skip")
    assert contents(dataset) == {"a.parquet/0": ("a",), "a.parquet/3": ("d",)}
    assert read_image(dataset[1].image, (8, 8))[0, 0, 0] == 3
    assert [(row.reason, row.count, row.example) for row in dataset.left_out] == [
        ("row without a caption", 2, f"{path}: row 1")
    ]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"url": ["x"]},
            {},
            r"a\.parquet has none of the columns image, jpg, .*; its columns are url \(.*string\); name",
        ),
        ({"jpg": [b"x"], "n": [1]}, {}, r"none of the columns text, .*; its columns are jpg \(binary\), n \(int64\)"),
        ({"jpg": [b"x"], "text": [1]}, {}, r"data\.caption_columns: the column 'text' of .*a\.parquet holds int64; "),
        (
            {"image": ["a.png"], "text": ["a"]},
            {},
            r"data\.image_column: the column 'image' of .* holds .*string; expected",
        ),
        (
            {"image": [{"path": "a"}], "text": ["a"]},
            {},
            r"holds struct<path: .*>; expected bytes, or a struct with bytes",
        ),
        (
            {"jpg": [b"x"], "text": ["a"]},
            {"image_column": "png"},
            r"data\.image_column: .*a\.parquet has no column 'png'",
        ),
        (
            {"jpg": [b"x"], "text": ["a"]},
            {"caption_columns": ("text", "en")},
            r"a\.parquet has no column 'en'; its col",
        ),
        ({"jpg": [], "text": []}, {"image_column": "jpg"}, r"the column 'jpg' of .* holds null"),
    ],
)
def test_another_schema_names_file_and_columns(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match=message):
        made(tmp_path, **options)


@pytest.mark.parametrize("size", [0, 3, 200])
def test_a_file_cut_short_is_named(folder: Path, size: int) -> None:
    path = folder / "a.parquet"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"cannot read .*a\.parquet: .*; it is damaged, cut short or no parquet file"):
        made(folder)


def test_a_file_that_is_damaged_after_the_start_is_a_bad_image(folder: Path) -> None:
    dataset = made(folder)
    path = folder / "a.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(InputError, match=r"cannot read the image .*a\.parquet: row 4: the parquet file is damaged"):
        read_image(dataset[4].image, (8, 8))


def test_an_empty_cell_is_a_bad_image(tmp_path: Path) -> None:
    cells = [{"bytes": image(1), "path": None}, {"bytes": None, "path": "a.png"}, None]
    dataset = made(write_parquet(tmp_path / "a.parquet", {"image": cells, "text": ["a", "b", "c"]}))
    for number in (1, 2):
        with pytest.raises(InputError, match=rf"row {number}: the column 'image' holds no bytes of an image"):
            read_image(dataset[number].image, (8, 8))


@pytest.mark.usefixtures("old_files")
def test_a_known_file_is_not_read_again_and_a_changed_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    before = contents(made(folder))
    known = sorted((folder / "home").glob("dit-run/indexes/*.index"))
    times = [path.stat().st_mtime_ns for path in known]
    assert contents(pickle.loads(pickle.dumps(made(folder)))) == before
    assert [path.stat().st_mtime_ns for path in known] == times and len(known) == 2
    write_parquet(folder / "b.parquet", {"jpg": [image(1)], "caption": ["new"]})
    assert list(contents(made(folder)).values())[5:] == [("new",)]


@pytest.mark.usefixtures("old_files")
def test_sizes_of_upright_images_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    images = [encoded(Image.new("RGB", (30 + n, 20)), form) for n, form in enumerate(["JPEG", "PNG", "WEBP"])]
    write_parquet(tmp_path / "a.parquet", {"jpg": [*images, None, b"none"], "caption": ["a", "", "b", "c", "d"]})
    write_parquet(tmp_path / "b.parquet", {"jpg": [image(1)], "caption": ["e"]})
    for _ in range(2):
        dataset = made(tmp_path, on_bad_sample="skip")
        assert dataset.image_sizes(np.array([4, 1, 0, 3, 2])).tolist() == [[8, 12], [20, 32], [20, 30], [0, 0], [0, 0]]
        assert len(list((tmp_path / "home").glob("dit-run/indexes/*.index"))) == 4
    assert made(tmp_path / "b.parquet").image_sizes(np.array([0])).tolist() == [[8, 12]]


def test_no_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no parquet file is found for .*; set it to a folder with \.parquet files"):
        made(tmp_path)


def test_without_its_package_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        InputError, match=r"type parquet needs the package pyarrow, .*: pip install 'dit-run\[parquet\]'"
    ):
        made(folder)
