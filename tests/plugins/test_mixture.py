"""A mixture: samples of all parts, with the rules, splits and reports of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dit_run import ConfigError, InputError, load_config
from dit_run.assembly.prepare import build_data, fit_data
from dit_run.settings import Config

CONFIG = """
data:
  type: mixture
  image_size: 16
  train_split: 0.5
  random_flip: true
  parts:
    - {type: custom, dataset_path: FOLDER/wide, weight: 2, name: photos, buckets: [16x16, 16x24]}
    - type: custom
      dataset_path: FOLDER/square
      caption_template: an icon of {text}
      tag_separator: ", "
      num_samples: 3
      train_split: 1.0
      random_flip: false
vae: {type: identity}
text_encoder: {type: words}
model: {patch_size: 4}
training: {batch_size: 2, max_steps: 4}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name, size in (("wide", (24, 16)), ("square", (16, 16))):
        (tmp_path / name).mkdir()
        for index in range(6):
            Image.new("RGB", size, (index, 0, 0)).save(tmp_path / name / f"{index}.png")
            (tmp_path / name / f"{index}.txt").write_text(f"{name},  {index}")
    (tmp_path / "square" / "lonely.txt").write_text("no image")
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return file


@pytest.fixture
def config(path: Path) -> Config:
    return load_config(path)


def test_keys_have_the_name_of_their_part(config: Config) -> None:
    dataset = build_data(config).dataset
    keys = [dataset[index].key for index in range(len(dataset))]
    assert keys == [*(f"photos/{index}.png" for index in range(6)), *(f"custom/{index}.png" for index in range(6))]
    with pytest.raises(IndexError):
        dataset[12]


def test_each_part_is_chosen_from_and_split_by_its_own_options(config: Config) -> None:
    data = build_data(config)
    assert data.validation is not None
    train = [data.dataset[index].key.split("/")[0] for index in data.train.indices]
    held_out = [data.dataset[index].key.split("/")[0] for index in data.validation.indices]
    assert train.count("custom") == 3 and set(held_out) == {"photos"}
    assert train.count("photos") + held_out.count("photos") == 6


def test_a_sample_stays_on_its_side_in_a_mixture(config: Config, path: Path) -> None:
    alone = build_data(load_config(path, "data={type: custom, dataset_path: " + str(path.parent / "wide") + "}"))
    mixed = build_data(config)
    own = {alone.dataset[index].key for index in alone.train.indices}
    assert own == {
        key.removeprefix("photos/")
        for index in mixed.train.indices
        if (key := mixed.dataset[index].key).startswith("photos/")
    }


def test_each_part_has_its_own_captions_and_augmentation(config: Config) -> None:
    visits = build_data(config).train.visits(range(300))
    icons = [visit for visit in visits if visit.part == 1]
    assert len(icons) == 100
    assert {visit.caption for visit in icons} <= {f"an icon of square, {index}" for index in range(6)}
    assert not any(visit.flip for visit in icons)
    photos = [visit for visit in visits if visit.part == 0]
    assert {visit.flip for visit in photos} == {True, False}
    assert all(visit.caption.startswith("wide,") for visit in photos)


def test_each_part_has_its_own_buckets(config: Config) -> None:
    data = fit_data(config, build_data(config), unit=4)
    visits = data.train.visits(range(600))
    assert {(visit.part, visit.size) for visit in visits} == {(0, (16, 24)), (1, (16, 16))}
    assert all(visits[at].size == visits[at + 1].size for at in range(0, 600, 2))
    assert sum(visit.part == 0 for visit in visits) == 400


def test_what_is_left_out_is_told_by_part(config: Config) -> None:
    rows = [(row.reason, row.count) for row in build_data(config).inventory.left_out]
    assert rows == [
        ("text without an image in part custom", 1),
        ("sample beyond data.num_samples=3 of part custom (null uses all)", 3),
    ]


def test_a_broken_part_is_named(config: Config, path: Path) -> None:
    (path.parent / "square" / "0.txt").unlink()
    with pytest.raises(InputError, match=r"part custom of the mixture: .*square/0.png has no caption"):
        build_data(config)


def test_a_part_of_which_all_is_left_out_is_named(path: Path) -> None:
    config = load_config(path, "data.min_side=17")
    with pytest.raises(InputError, match=r"all . samples of part photos are left out"):
        fit_data(config, build_data(config), unit=4)


def test_two_parts_of_one_name_are_refused(path: Path) -> None:
    path.write_text(path.read_text().replace(", name: photos", ""))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    (problem,) = error.value.problems
    assert problem.message.startswith("data.parts[0] and data.parts[1] are both called 'custom'")
    assert problem.place is not None and problem.place.line == 9
    assert [place.line for place in problem.related_places] == [8]


def test_common_options_are_those_of_the_mixture_where_a_part_writes_none(config: Config) -> None:
    photos, icons = (choice.common for _, choice in config.datasets())
    assert (photos.image_size, photos.random_flip, photos.train_split) == (16, True, 0.5)
    assert (icons.image_size, icons.random_flip, icons.train_split) == (16, False, 1.0)
    assert (photos.buckets, icons.buckets) == (("16x16", "16x24"), None)
