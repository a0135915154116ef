"""The CSV dataset keeps the contract of a dataset, says what is wrong with a file, and trains."""

from pathlib import Path

import pytest
from dit_run_csv_dataset.plugin import Csv, build
from PIL import Image

from dit_run.problems import InputError
from dit_run.testing import check_dataset, check_plugin
from dit_run.testing.fixtures import run_config

__all__ = ["run_config"]


@pytest.fixture
def table(tmp_path):
    """Write a CSV file with three images; the first has two captions."""
    for name in ("red", "green", "blue"):
        Image.new("RGB", (24, 16), name).save(tmp_path / f"{name}.png")
    path = tmp_path / "images.csv"
    path.write_text(
        "image,caption\nred.png,a red image\nred.png,all is red\n"
        'green.png,"green, with a comma"\nblue.png,a blue image\n'
    )
    return path


def fault(path, **options):
    with pytest.raises(InputError) as caught:
        build(Csv(path=str(path), **options))
    return str(caught.value)


def test_plugin(table):
    check_plugin("dit_run_csv_dataset", {"dataset.csv": {"path": table}})


def test_contract(table):
    check_dataset("csv", path=table)


def test_rows_of_one_image_are_its_captions(table):
    samples = {sample.key: sample.captions for sample in build(Csv(path=str(table)))}
    assert samples == {
        "red.png": ("a red image", "all is red"),
        "green.png": ("green, with a comma",),
        "blue.png": ("a blue image",),
    }


def test_columns_and_delimiter(table):
    table.write_text("Bild;Text\nred.png;rot\n")
    options = Csv(path=str(table), image_column="Bild", caption_column="Text", delimiter=";")
    assert build(options)[0].captions == ("rot",)


def test_a_missing_column(table):
    table.write_text("file,caption\nred.png,red\n")
    assert fault(table) == f"{table} has no column 'image'; its columns are file, caption"


def test_a_missing_image(table):
    table.write_text("image,caption\nred.png,red\npink.png,pink\n")
    assert fault(table) == f"{table}, line 3: there is no image {table.parent / 'pink.png'}"


def test_an_empty_caption(table):
    table.write_text("image,caption\nred.png,\n")
    assert fault(table) == f"{table}, line 2: a row needs an image and a caption"


def test_no_rows(table):
    table.write_text("image,caption\n")
    assert fault(table) == f"{table} lists no images (data.path)"


def test_no_file():
    assert fault(Path("nowhere.csv")).startswith("nowhere.csv cannot be read: ")


def test_it_trains(run_config, table):
    run = run_config(f"data: {{type: csv, path: {table}, image_size: 16, train_split: 1.0}}")
    assert run.errors == ()
    assert len(run.metrics) == 2
