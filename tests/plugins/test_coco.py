"""MS-COCO: its genuine layout, the prepared one, and what is wrong with either."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dit_run.problems import InputError
from dit_run.protocols import Facts, RuleContext
from dit_run_plugins.datasets.coco import Coco, build, splits_chosen

CAPTIONS = {
    "train2017": {"000000000009.jpg": ["A plate of food.", "Lunch."], "000000000025.jpg": ["Two giraffes."]},
    "val2017": {"000000000139.jpg": ["A living room.\n", "A room with a table."]},
}


def write_split(root, split, captions):
    """The genuine layout, with fields that no one reads."""
    (root / "annotations").mkdir(exist_ok=True, parents=True)
    (root / split).mkdir(exist_ok=True)
    for name in captions:
        Image.new("RGB", (8, 6)).save(root / split / name)
    images = [
        {"license": 3, "file_name": name, "height": 6, "width": 8, "id": 7 + n} for n, name in enumerate(captions)
    ]
    pairs = [(7 + number, text) for number, texts in enumerate(captions.values()) for text in texts]
    annotations = [{"image_id": image, "id": n, "caption": text} for n, (image, text) in enumerate(reversed(pairs))]
    content = {"info": {"year": 2017}, "licenses": [{"id": 3}], "images": images, "annotations": annotations}
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    for split, captions in CAPTIONS.items():
        write_split(tmp_path, split, captions)
    (tmp_path / "annotations" / "instances_val2017.json").write_text("not read")
    return tmp_path


def dataset(root, *subsets):
    return build(Coco(dataset_path=str(root), subsets=subsets))


def contents(data):
    return {sample.key: set(sample.captions) for sample in (data[index] for index in range(len(data)))}


def test_all_splits_and_all_captions_are_read(root):
    assert contents(dataset(root)) == {
        "train2017/000000000009.jpg": {"A plate of food.", "Lunch."},
        "train2017/000000000025.jpg": {"Two giraffes."},
        "val2017/000000000139.jpg": {"A living room.", "A room with a table."},
    }


def test_a_sample_leads_to_its_image(root):
    sample = dataset(root, "val2017")[0]
    assert sample.image == root / "val2017" / "000000000139.jpg"


def test_subsets_narrow_the_splits(root):
    assert list(contents(dataset(root, "val2017"))) == ["val2017/000000000139.jpg"]


@pytest.mark.parametrize(
    ("subsets", "keys"),
    [
        (("train*",), ["train2017/000000000009.jpg", "train2017/000000000025.jpg"]),
        (("val20??",), ["val2017/000000000139.jpg"]),
        (("train2017", "v*"), ["train2017/000000000009.jpg", "train2017/000000000025.jpg", "val2017/000000000139.jpg"]),
    ],
)
def test_subsets_may_be_patterns(root, subsets, keys):
    assert sorted(contents(dataset(root, *subsets))) == keys


def test_a_pattern_that_no_split_has_names_those_that_are_there(root):
    with pytest.raises(InputError, match=r"has no captions_test\*\.json; found train2017, val2017"):
        dataset(root, "test*")


def test_a_prepared_folder_needs_no_splits_and_says_so(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    (tmp_path / "metadata.json").write_text(json.dumps([{"image": "a.jpg", "text": "A cat."}]))
    assert contents(dataset(tmp_path, "train*")) == {"a.jpg": {"A cat."}}
    (notice,) = notices(Coco(dataset_path=str(tmp_path), subsets=("train*",)), "subsets")
    assert notice.message == f"data.subsets has no effect: {tmp_path} is a prepared folder, without splits"


def notices(options, *written):
    context = RuleContext(SimpleNamespace(), ("data",), options, Facts(), {("data", key) for key in written})
    return list(splits_chosen(context))


def test_splits_that_nobody_chose_are_reported_with_the_way_to_choose(root):
    (notice,) = notices(Coco(dataset_path=str(root)), "dataset_path")
    assert (notice.severity, notice.path) == ("notice", ("data", "subsets"))
    assert notice.message == f"data.subsets is not set, so all splits in {root} are used: train2017, val2017"
    assert notice.help == ("list the splits to use, for example data.subsets: ['train*']",)


def test_nothing_is_reported_for_chosen_splits_a_single_split_or_none(root, tmp_path_factory):
    assert notices(Coco(dataset_path=str(root)), "subsets") == []
    (root / "annotations" / "captions_train2017.json").unlink()
    assert notices(Coco(dataset_path=str(root))) == []
    assert notices(Coco(dataset_path=str(root / "nowhere"))) == []
    assert notices(Coco(dataset_path="x" * 5000)) == notices(Coco(dataset_path="\0")) == []


def test_the_dataset_travels_to_other_processes(root):
    data = dataset(root)
    assert contents(pickle.loads(pickle.dumps(data))) == contents(data)


def test_it_ends_where_its_samples_end(root):
    assert len(list(iter(dataset(root)))) == 3


def test_images_without_captions_are_left_out(root):
    write_split(root, "test2017", {"a.jpg": [], "b.jpg": ["  "], "c.jpg": ["A cat."]})
    assert list(contents(dataset(root, "test2017"))) == ["test2017/c.jpg"]


def test_an_annotation_of_an_image_outside_the_list_is_left_out(root):
    file = root / "annotations" / "captions_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"] += [{"image_id": 99, "caption": "x"}, {"image_id": 98, "caption": "y"}]
    file.write_text(json.dumps(content))
    before = contents(dataset(root, "val2017"))
    data = dataset(root, "val2017")
    assert contents(data) == before
    reason = "caption of an image that is not in 'images' of captions_val2017.json"
    assert [(row.count, row.example) for row in data.left_out if row.reason == reason] == [(2, "image 99")]


def test_an_unknown_subset_names_those_that_are_there(root):
    with pytest.raises(InputError, match=r"data\.subsets: .* has no captions_val2014\.json; found train2017, val2017"):
        dataset(root, "val2014")


def test_a_missing_image_folder_says_how_to_go_on(root):
    for file in (root / "val2017").iterdir():
        file.unlink()
    (root / "val2017").rmdir()
    with pytest.raises(InputError, match=r"captions_val2017\.json needs the image folder .*val2017.*data\.subsets"):
        dataset(root)


def test_a_missing_image_is_named_with_its_file(root):
    (root / "val2017" / "000000000139.jpg").unlink()
    with pytest.raises(
        InputError,
        match=r"annotations names the image val2017/000000000139\.jpg, which is not in .* "
        r"\(data\.dataset_path\); 1 of 3 images are missing",
    ):
        dataset(root)


def test_a_folder_without_data_names_both_layouts(tmp_path):
    with pytest.raises(InputError, match=r"data\.dataset_path: .* has neither annotations/captions_.*metadata\.json"):
        dataset(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data\.dataset_path: .*nowhere does not exist"):
        dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.jpg", "a/../../b.jpg", "C:\\x.jpg", "..\\x.jpg", "", None, "\0"]
)
def test_image_names_that_leave_their_folder_are_refused(root, name):
    write_split(root, "val2017", {})
    content = {"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "caption": "x"}]}
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"captions_val2017\.json: image 1: "):
        dataset(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "this file is not valid JSON"),
        ("{", "this file is not valid JSON"),
        ("[" * 100_000, "this file is not valid JSON"),
        ("[]", "the captions format of MS-COCO"),
        ('{"images": 3, "annotations": []}', "'images' does not have the captions format"),
        ('{"images": [], "annotations": [{"bbox": [1]}]}', "'annotations' does not have the captions format"),
        ('{"images": [], "annotations": [{"image_id": 5, "caption": "x"}]}', "annotations has no image with a caption"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": 3}]}',
            "which is not text",
        ),
        ('{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": [{"image_id": {}, "caption": ""}]}', "image"),
        ('{"images": [], "annotations": []}', "has no image with a caption"),
    ],
)
def test_a_broken_captions_file_is_named(tmp_path, content, message):
    write_split(tmp_path, "val2017", {})
    (tmp_path / "annotations" / "captions_val2017.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        dataset(tmp_path)
    assert str(tmp_path / "annotations") in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["images", "annotations", "id", "file_name", "image_id", "caption"]), inner
            )
        ),
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("coco")
    write_split(root, "val2017", {})
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="annotations"):
        dataset(root)


def test_captions_keep_unicode_and_lose_what_is_none(root):
    write_split(root, "val2017", {"a.jpg": ["Ein Käse 🧀", "half \ud83e of one"]})
    assert contents(dataset(root, "val2017")) == {"val2017/a.jpg": {"Ein Käse 🧀", "half ? of one"}}


def test_the_prepared_layout_is_read(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "images" / "image_000000.jpg")
    (tmp_path / "metadata.json").write_text('[{"image": "images/image_000000.jpg", "text": "A cat."}]')
    assert contents(dataset(tmp_path)) == {"images/image_000000.jpg": {"A cat."}}


def test_the_real_subset_is_read(shared_data):
    data = dataset(shared_data / "coco_subset")
    assert len(data) == 196
    assert sum(len(data[index].captions) for index in range(196)) == 980
    assert all(data[index].image.is_file() for index in range(196))
