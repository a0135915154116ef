"""CUB-200-2011: three places for its captions, or none."""

from __future__ import annotations

import pytest
from PIL import Image

from dit_run.problems import InputError
from dit_run_plugins.datasets.cub import Cub, build, class_caption

FILES = {
    "1": "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
    "2": "029.American_Crow/American_Crow_0001.jpg",
}
CLASSES = {"1": "001.Black_footed_Albatross", "2": "029.American_Crow"}


def write_birds(home):
    (home / "images").mkdir(parents=True)
    for file in FILES.values():
        (home / "images" / file).parent.mkdir()
        Image.new("RGB", (8, 6)).save(home / "images" / file)
    write_table(home / "images.txt", FILES)
    write_table(home / "classes.txt", CLASSES)
    write_table(home / "image_class_labels.txt", {"1": "1", "2": "2"})
    write_table(home / "train_test_split.txt", {"1": "0", "2": "1"})


def write_table(file, rows):
    file.write_text("".join(f"{number} {text}\n" for number, text in rows.items()))


def write_captions(folder):
    for file in FILES.values():
        text = (folder / file).with_suffix(".txt")
        text.parent.mkdir(parents=True)
        text.write_bytes(f"a bird of {file[:3]}.\n\nit flies \ufffd.\n".encode() + b"caf\xe9\n")


@pytest.fixture
def root(tmp_path):
    write_birds(tmp_path / "CUB_200_2011")
    return tmp_path


def dataset(root, subset="all"):
    return build(Cub(dataset_path=str(root), subset=subset))


def contents(data):
    return {sample.key: sample.captions for sample in (data[index] for index in range(len(data)))}


FROM_CLASSES = {FILES["1"]: ("a photo of a black footed albatross",), FILES["2"]: ("a photo of an american crow",)}
FROM_TEXTS = {file: (f"a bird of {file[:3]}.", "it flies \ufffd.", "caf\ufffd") for file in FILES.values()}


@pytest.mark.parametrize(("subset", "number"), [("train", "2"), ("test", "1")])
def test_the_datasets_own_split_chooses_images(root, subset, number):
    assert contents(dataset(root, subset)) == {FILES[number]: FROM_CLASSES[FILES[number]]}


def test_a_subset_needs_the_table_of_the_split(root):
    (root / "CUB_200_2011" / "train_test_split.txt").unlink()
    with pytest.raises(InputError, match=r"train_test_split\.txt: No such file"):
        dataset(root, "train")


def test_a_prepared_folder_has_no_subsets(tmp_path):
    (tmp_path / "metadata.json").write_text("[]")
    with pytest.raises(InputError, match=r"data\.subset is test, but .* has no CUB_200_2011/train_test_split\.txt"):
        dataset(tmp_path, "test")


def test_without_texts_captions_come_from_the_classes(root):
    assert contents(dataset(root)) == FROM_CLASSES


def test_a_class_name_becomes_a_caption():
    assert class_caption("004.Groove_billed_Ani") == "a photo of a groove billed ani"
    assert class_caption("096.Hooded_Oriole") == "a photo of a hooded oriole"
    assert class_caption("010.Indigo_Bunting") == "a photo of an indigo bunting"


@pytest.mark.parametrize("place", ["text_c10", "cvpr2016_cub/text_c10", "CUB_200_2011/text_c10", "versions/2/text_c10"])
def test_texts_are_found_in_each_of_their_places(root, place):
    write_captions(root / place)
    assert contents(dataset(root)) == FROM_TEXTS


def test_a_folder_of_versions_is_read_at_its_latest(tmp_path):
    for version in ("1", "2"):
        write_birds(tmp_path / "versions" / version / "CUB_200_2011")
    write_captions(tmp_path / "versions" / "2" / "cvpr2016_cub" / "text_c10")
    data = dataset(tmp_path)
    assert contents(data) == FROM_TEXTS
    assert data[0].image == tmp_path / "versions" / "2" / "CUB_200_2011" / "images" / FILES["1"]


def test_the_inner_folder_serves_as_well_and_keys_stay_the_same(root):
    assert contents(dataset(root / "CUB_200_2011")) == FROM_CLASSES


def test_a_missing_text_is_named(root):
    write_captions(root / "text_c10")
    (root / "text_c10" / FILES["2"]).with_suffix(".txt").unlink()
    with pytest.raises(InputError, match=r"American_Crow_0001\.txt: No such file or directory \(data\.dataset_path\)"):
        dataset(root)


def test_a_missing_image_is_named_with_its_file(root):
    (root / "CUB_200_2011" / "images" / FILES["2"]).unlink()
    with pytest.raises(InputError, match=r"images\.txt names the image 029\.American_Crow/American_Crow_0001\.jpg"):
        dataset(root)


def test_an_image_without_a_class_is_named(root):
    write_table(root / "CUB_200_2011" / "image_class_labels.txt", {"1": "1"})
    with pytest.raises(InputError, match=r"image_class_labels\.txt: image 2 .* has no class"):
        dataset(root)


def test_a_broken_line_is_named(root):
    (root / "CUB_200_2011" / "images.txt").write_text("1 a.jpg\nnonsense\n")
    with pytest.raises(InputError, match=r"images\.txt:2: expected a number, a space and a text, not 'nonsense'"):
        dataset(root)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x.jpg"])
def test_image_names_that_leave_their_folder_are_refused(root, name):
    write_table(root / "CUB_200_2011" / "images.txt", {"1": name})
    with pytest.raises(InputError, match=r"images\.txt: image 1: the path .* must be relative"):
        dataset(root)


def test_no_images_at_all_are_refused(root):
    (root / "CUB_200_2011" / "images.txt").write_text("")
    with pytest.raises(InputError, match=r"images\.txt has no image with a caption \(data\.dataset_path\)"):
        dataset(root)


def test_the_prepared_layout_is_read(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    (tmp_path / "metadata.json").write_text('[{"image": "a.jpg", "text": "A bird."}]')
    assert contents(dataset(tmp_path)) == {"a.jpg": ("A bird.",)}


def test_a_folder_without_data_names_both_layouts(tmp_path):
    with pytest.raises(InputError, match=r"has neither CUB_200_2011/images\.txt nor metadata\.json"):
        dataset(tmp_path)


def test_the_real_subset_is_read(shared_data):
    data = dataset(shared_data / "cub_subset")
    assert len(data) == 398
    assert sum(len(data[index].captions) for index in range(398)) == 3980
    bare = dataset(shared_data / "cub_subset" / "CUB_200_2011")
    assert bare[0].captions == ("a photo of a black footed albatross",)
    assert [bare[index].key for index in range(398)] == [data[index].key for index in range(398)]
