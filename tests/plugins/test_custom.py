"""One's own images: four layouts, and clear words about what is wrong with them."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dit_run.problems import InputError
from dit_run_plugins.datasets.checked_paths import relative_file
from dit_run_plugins.datasets.custom import Custom, build, path_is_written

IMAGES = ("a.png", "b/c.jpg", "b/d/e.webp")


@pytest.fixture
def root(tmp_path):
    for name in IMAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def texts(root):
    for name in IMAGES:
        (root / name).with_suffix(".txt").write_text(f"this is\n {name} \n", encoding="utf-8")
    return root


def dataset(root, captions="lines", on_bad_sample="error"):
    return build(Custom(dataset_path=str(root), captions=captions), on_bad_sample=on_bad_sample)


def left_out(data):
    return {row.reason: (row.count, row.example) for row in data.left_out}


def contents(data):
    return {sample.key: sample.captions for sample in (data[index] for index in range(len(data)))}


def write_index(root, kind, rows):
    if kind == "json":
        text = json.dumps([{"image": image, "text": caption} for image, caption in rows])
    elif kind == "jsonl":
        text = "".join(json.dumps({"file_name": image, "text": caption, "more": 1}) + "\n" for image, caption in rows)
    else:
        lines = io.StringIO()
        csv.writer(lines).writerows([("file_name", "text"), *rows])
        text = lines.getvalue()
    (root / f"metadata.{kind}").write_bytes(text.encode())


def test_a_folder_with_texts_is_read_with_all_folders_in_it(texts):
    assert contents(dataset(texts)) == {name: ("this is", name) for name in IMAGES}
    assert dataset(texts).left_out == ()


def test_names_of_captions_may_end_in_upper_case(root):
    for name, text in (("a.TXT", "A"), ("b/c.JSON", '{"text": "C"}'), ("b/d/e.txt", "E")):
        (root / name).write_text(text, encoding="utf-8")
    assert [sample.captions for sample in dataset(root)] == [("A",), ("C",), ("E",)]


def test_a_text_as_a_whole_is_one_caption(texts):
    assert contents(dataset(texts, captions="whole")) == {name: (f"this is {name}",) for name in IMAGES}


@pytest.mark.parametrize("captions", ["lines", "whole"])
@pytest.mark.parametrize("key", ["text", "caption", "prompt"])
def test_a_json_file_next_to_an_image_has_its_captions_unless_a_text_has(texts, key, captions):
    for name in ("a", "b/c"):
        (texts / f"{name}.json").write_text(json.dumps({key: ["one", "two\nlines"], "url": "http://x"}))
    (texts / "a.txt").unlink()
    found = contents(dataset(texts, captions=captions))
    assert found["a.png"] == ("one", "two\nlines")
    assert found["b/c.jpg"][0].startswith("this is")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"a\.json: expected 'text', but found no key"),
        ('{"text": " "}', r"a\.json: expected 'text' to be a caption or a list"),
        ("[1]", r"a\.json: expected 'text', but found 1"),
        ("{", r"a\.json: this file is not valid JSON"),
    ],
)
def test_a_json_file_without_a_caption_is_named(texts, content, message):
    (texts / "a.txt").unlink()
    (texts / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        dataset(texts)


def weights(data):
    return {sample.key: sample.weights for sample in (data[index] for index in range(len(data)))}


def test_a_json_file_next_to_an_image_may_weight_its_captions(texts):
    (texts / "a.txt").unlink()
    (texts / "a.json").write_text(json.dumps({"text": ["one", "two"], "weights": [3, 0.5]}))
    (texts / "b" / "c.txt").unlink()
    (texts / "b" / "c.json").write_text(json.dumps({"text": ["one", "two"], "weights": [2, 2]}))
    assert weights(dataset(texts)) == {"a.png": (3.0, 0.5), "b/c.jpg": (), "b/d/e.webp": ()}


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": "x"}\n{"file_name": "a.png", "text": "y", "weight": 0}',
            ":2",
        ),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x", "weight": true}', ":1"),
        ("metadata.json", '[{"image": "a.png", "text": ["x", "y"], "weights": [1, -2]}]', ": entry 0"),
        ("metadata.csv", "file_name,text,weight\na.png,x,1\na.png,y,many\n", ":3"),
        ("metadata.csv", "file_name,text,weight\na.png,x,\n", ":2"),
        ("metadata.csv", "file_name,text,weight\na.png,x,inf\n", ":2"),
    ],
)
def test_a_weight_that_is_not_above_0_names_its_line(root, name, content, where):
    (root / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}{where}: 'weights?' must be a number above 0 for each caption, not "):
        dataset(root)


def test_weights_of_another_number_than_captions_are_refused(root):
    (root / "metadata.json").write_text('[{"image": "a.png", "text": ["x", "y"], "weights": [1]}]')
    with pytest.raises(InputError, match=r"metadata\.json: entry 0: 'weights' has 1 weights for 2 captions"):
        dataset(root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": "x", "score": 2, "size": 1.5}\n{"file_name": "b/c.jpg", "text": "y"}',
        ),
        ("metadata.csv", "file_name,text,size,score\na.png,x,1.5,2\nb/c.jpg,y,,\n"),
        (
            "metadata.json",
            '[{"image": "a.png", "text": "x", "size": "1.5", "score": 2}, {"image": "b/c.jpg", "text": "y"}]',
        ),
    ],
)
def test_columns_of_numbers_become_the_scalars_that_are_asked_for(root, name, content):
    (root / name).write_text(content)
    data = build(Custom(dataset_path=str(root)), scalars=("score", "size"))
    assert {sample.key: sample.scalars for sample in data} == {"a.png": {"score": 2.0, "size": 1.5}, "b/c.jpg": {}}
    assert all(sample.scalars == {} for sample in dataset(root))


def test_rows_of_an_image_complete_each_other_and_do_not_contradict(root):
    lines = "file_name,text,score,size\na.png,x,,1\na.png,y,2,\nb/c.jpg,z,,\n"
    (root / "metadata.csv").write_text(lines)
    assert build(Custom(dataset_path=str(root)), scalars=("score", "size"))[0].scalars == {"score": 2.0, "size": 1.0}
    (root / "metadata.csv").write_text(f"{lines}a.png,w,3,1\n")
    with pytest.raises(
        InputError, match=r"metadata\.csv:5: 'score' is 3, but an earlier entry of the same image has 2"
    ):
        build(Custom(dataset_path=str(root)), scalars=("score", "size"))


def test_a_json_file_next_to_an_image_has_its_scalars_even_next_to_a_text(texts):
    (texts / "a.json").write_text('{"score": 0.5}')
    (texts / "b" / "c.txt").unlink()
    (texts / "b" / "c.json").write_text('{"text": "x", "score": 2}')
    data = build(Custom(dataset_path=str(texts)), scalars=("score",))
    assert [sample.scalars for sample in data] == [{"score": 0.5}, {"score": 2.0}, {}]
    (texts / "a.json").write_text("[0.5]")
    with pytest.raises(InputError, match=r"a\.json: expected an object with the keys score \(model\.scalars\)"):
        build(Custom(dataset_path=str(texts)), scalars=("score",))


@pytest.mark.parametrize("value", ['"good"', "true", "[1]", "1e999", "1e39", "1" + "0" * 400])
def test_a_scalar_that_is_no_number_names_its_line(root, value):
    (root / "metadata.jsonl").write_text(f'{{"file_name": "a.png", "text": "x", "score": {value}}}')
    with pytest.raises(
        InputError, match=r"metadata\.jsonl:1: 'score' must be a number, because model\.scalars names it"
    ):
        build(Custom(dataset_path=str(root)), scalars=("score",))


def test_rows_of_an_image_have_a_weight_each(root):
    (root / "metadata.csv").write_text("file_name,text,weight\na.png,x,1\nb/c.jpg,z,1\na.png,y,2.5\n")
    assert weights(dataset(root)) == {"a.png": (1.0, 2.5), "b/c.jpg": ()}


@pytest.mark.parametrize("suffix", ["jpe", "jfif", "bmp", "gif", "tif", "tiff", "avif", "heic", "jxl", "PNG", "Jpeg"])
def test_images_of_every_readable_format_are_found(texts, suffix):
    (texts / f"more.{suffix}").touch()
    (texts / "more.txt").write_text("more")
    assert set(contents(dataset(texts))) == {*IMAGES, f"more.{suffix}"}


def test_what_is_left_out_of_a_folder_is_reported(texts):
    for name in ("raw/x.CR2", "raw/y.cr2", "poster.psd", "b/lonely.txt", "notes.md", ".hidden.txt"):
        (texts / name).parent.mkdir(exist_ok=True)
        (texts / name).write_text("something")
    assert left_out(dataset(texts)) == {
        "file of the format .cr2, which is not read": (2, "raw/x.CR2"),
        "file of the format .psd, which is not read": (1, "poster.psd"),
        "text without an image": (1, "b/lonely.txt"),
    }


def test_images_without_a_caption_are_left_out_if_bad_samples_are_skipped(texts):
    (texts / "a.txt").unlink()
    (texts / "b" / "c.txt").write_text(" \n")
    data = dataset(texts, on_bad_sample="skip")
    assert set(contents(data)) == {"b/d/e.webp"}
    assert left_out(data) == {"image without a caption": (2, "a.png")}


def test_all_images_without_a_caption_are_an_error_though_bad_samples_are_skipped(root):
    with pytest.raises(InputError, match="3 of 3 images have no caption") as refused:
        dataset(root, on_bad_sample="skip")
    assert "skip" not in str(refused.value)  # it would leave out all of them


def test_several_images_without_a_caption_are_named(texts):
    (texts / "a.txt").unlink()
    (texts / "b" / "c.txt").write_text("")
    with pytest.raises(
        InputError,
        match=r"(?s)a\.png has no caption.*on_bad_sample: skip.*2 of 3 images have no.*c\.txt: expected a caption",
    ):
        dataset(texts)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_is_utf8_or_marked_utf16(texts, encoding):
    (texts / "a.txt").write_text("ein Käse\n日本", encoding=encoding)
    assert contents(dataset(texts))["a.png"] == ("ein Käse", "日本")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "metadata.csv", "metadata.jsonl"])
def test_utf16_without_a_mark_is_refused(texts, encoding, name):
    (texts / name).write_text('{"file_name": "a.png", "text": "x"}\n', encoding=encoding)
    with pytest.raises(InputError, match=rf"{name}:1: there are zero bytes .* UTF-16 without a byte-order mark"):
        dataset(texts)


def test_hidden_files_and_other_files_are_passed_over(texts):
    (texts / ".hidden").mkdir()
    (texts / ".hidden" / "x.png").touch()
    (texts / "._a.png").touch()
    (texts / "README.txt").write_text("about these images")
    assert set(contents(dataset(texts))) == set(IMAGES)


def test_linked_folders_are_followed_and_circles_are_not(texts, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Image.new("RGB", (8, 6)).save(elsewhere / "x.JPG", format="JPEG")
    (elsewhere / "x.txt").write_text("linked")
    (texts / "link").symlink_to(elsewhere)
    (texts / "circle").symlink_to(texts)
    assert set(contents(dataset(texts))) == {*IMAGES, "link/x.JPG"}


def test_an_image_without_a_text_says_where_it_is_expected(texts):
    (texts / "b" / "c.txt").unlink()
    with pytest.raises(
        InputError, match=r"b/c\.jpg has no caption: write it to c\.txt in the same folder.*data\.dataset_path"
    ):
        dataset(texts)


def test_an_empty_text_is_named(texts):
    (texts / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"a\.txt: expected a caption, but the file is empty"):
        dataset(texts)


def test_a_text_that_is_not_utf8_is_named(texts):
    (texts / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"a\.txt: cannot be read as UTF-8 text"):
        dataset(texts)


def test_a_file_name_that_is_no_unicode_is_read(texts):
    name = os.fsencode(texts) + b"/caf\xe9"
    with open(name + b".png", "wb") as image, open(name + b".txt", "w") as text:  # noqa: PTH123
        Image.new("RGB", (8, 6)).save(image, "PNG")
        text.write("coffee")
    data = dataset(texts)
    assert contents(data)["caf\udce9.png"] == ("coffee",)
    assert all(data[index].image.is_file() for index in range(len(data)))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_an_index_file_is_read(root, kind):
    rows = [(name, f'this, "that" and {name} 🧀\nagain') for name in IMAGES]
    write_index(root, kind, rows)
    assert contents(dataset(root)) == {name: (caption,) for name, caption in rows}


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_an_image_named_twice_has_two_captions(root, kind):
    write_index(root, kind, [("a.png", "one"), ("b/c.jpg", "else"), ("./a.png", "two")])
    assert contents(dataset(root)) == {"a.png": ("one", "two"), "b/c.jpg": ("else",)}


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_list_of_texts_is_many_captions(root, kind):
    write_index(root, kind, [("a.png", ["one", "two"])])
    assert contents(dataset(root)) == {"a.png": ("one", "two")}


def test_a_byte_order_mark_and_empty_lines_do_no_harm(root):
    (root / "metadata.jsonl").write_bytes(b'\xef\xbb\xbf{"file_name": "a.png", "text": "x"}\n\n')
    assert contents(dataset(root)) == {"a.png": ("x",)}


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "b/../../a.png", "\\\\host\\a.png"])
def test_image_names_that_leave_the_folder_are_refused(root, kind, name):
    write_index(root, kind, [("a.png", "x"), (name, "y")])
    with pytest.raises(InputError, match=rf"metadata\.{kind}.*must be relative and stay in its folder"):
        dataset(root)


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_a_missing_image_is_named_with_its_file(root, kind):
    write_index(root, kind, [("a.png", "x"), ("z/b.png", "y"), ("c.png", "y")])
    with pytest.raises(
        InputError, match=rf"metadata\.{kind} names the image z/b\.png, .*data\.dataset_path.*2 of 3 images are missing"
    ):
        dataset(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{', r"metadata\.jsonl:2: this line is not valid JSON"),
        ("metadata.jsonl", '{"file_name": "a.png"}', r"metadata\.jsonl:1: expected 'file_name' .* found 'file_name'"),
        ("metadata.jsonl", "[]", r"metadata\.jsonl:1: expected 'file_name' and 'text', but found \[\]"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": 3}', r":1: expected 'text' to be a caption"),
        ("metadata.jsonl", '{"file_name": 3, "text": "x"}', r":1: expected the path of an image, not 3"),
        ("metadata.jsonl", '{"file_name": "a\\ud800", "text": "x"}', "is not a valid file name"),
        ("metadata.jsonl", "[" * 100_000, r"metadata\.jsonl:1: this line is not valid JSON"),
        ("metadata.jsonl", "", r"metadata\.jsonl has no image with a caption"),
        ("metadata.json", '{"image": "a.png"}', r"metadata\.json: expected a list"),
        ("metadata.json", '[{"picture": "a.png", "text": "x"}]', r"metadata\.json: entry 0: expected 'image' and"),
        ("metadata.json", "[", r"metadata\.json: this file is not valid JSON"),
        ("metadata.csv", "name,text\na.png,x\n", r"metadata\.csv:1: expected the columns .* but found 'name', 'text'"),
        ("metadata.csv", "a.png,a cat\nb/c.jpg,x\n", r"csv:1: .* let the first line name the columns: file_name,text"),
        ("metadata.csv", "file_name;text\na.png;x\n", r"csv:1: .* found 'file_name;text'; its values .* by ';'"),
        ("metadata.csv", "file_name\ttext\na.png\tx\n", r"csv:1: .* its values seem to be separated by tabs; separate"),
        ("metadata.csv", "file_name,text\na.png,x\nb/c.jpg\n", r"metadata\.csv:3: this line has 1 value for 2 columns"),
        ("metadata.csv", "file_name,text\na.png,1girl, solo\n", r'csv:2: .* 3 values for 2 .* quotes: "1girl, solo"'),
        ("metadata.csv", "file_name,text\na.png,\n", r"metadata\.csv:2: expected 'text' to be a caption"),
        ("metadata.csv", 'file_name,text\na.png,"x', r"metadata\.csv:\d: this line is not valid CSV"),
        ("metadata.csv", "", r"metadata\.csv has no image with a caption"),
    ],
)  # fmt: skip
def test_a_broken_index_names_its_line(root, name, content, message):
    (root / name).write_text(content)
    with pytest.raises(InputError, match=message):
        dataset(root)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.json"])
def test_an_index_that_is_not_utf8_is_named(root, name):
    (root / name).write_bytes(b"file_name,text\na.png,caf\xe9\n")
    with pytest.raises(InputError, match=name):
        dataset(root)


@pytest.mark.parametrize("image", ["file_name", "image", "filename", "path"])
@pytest.mark.parametrize("caption", ["text", "caption", "prompt"])
def test_columns_have_their_usual_names(root, image, caption):
    (root / "metadata.csv").write_text(f"id,{caption},{image}\n7,x,a.png\n")
    assert contents(dataset(root)) == {"a.png": ("x",)}
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text(json.dumps({caption: "x", image: "a.png"}))
    assert contents(dataset(root)) == {"a.png": ("x",)}


def test_each_folder_may_have_an_index(root):
    write_index(root / "b", "jsonl", [("c.jpg", "one")])
    write_index(root / "b" / "d", "csv", [("e.webp", "two")])
    data = dataset(root)
    assert contents(data) == {"b/c.jpg": ("one",), "b/d/e.webp": ("two",)}
    assert left_out(data) == {"image without a caption": (1, "a.png")}


def test_images_that_an_index_does_not_name_are_reported_in_all_folders(root):
    write_index(root, "csv", [("a.png", "x")])
    assert left_out(dataset(root)) == {"image without a caption in metadata.csv": (2, "b/c.jpg")}


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_missing_images_are_left_out_if_bad_samples_are_skipped(root, kind):
    write_index(root, kind, [("a.png", "x"), ("z/b.png", "y"), ("c.png", "y")])
    data = dataset(root, on_bad_sample="skip")
    assert contents(data) == {"a.png": ("x",)}
    assert left_out(data)["image that is missing"] == (2, "c.png")


@pytest.mark.parametrize("folder", ["none", "a.png", "x" * 300])
def test_an_image_in_a_folder_that_cannot_exist_is_missing(root, folder):
    rows = [{"file_name": name, "text": "t"} for name in ("a.png", f"{folder}/b.png")]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert left_out(dataset(root, on_bad_sample="skip"))["image that is missing"] == (1, f"{folder}/b.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may list every folder")
def test_a_folder_that_may_not_be_listed_is_named(root):
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "b/c.jpg", "text": "t"}))
    (root / "b").chmod(0)
    with pytest.raises(InputError, match=r"/b: Permission denied"):
        dataset(root, on_bad_sample="skip")


def test_all_images_missing_is_an_error_though_bad_samples_are_skipped(root):
    write_index(root, "csv", [("z.png", "x")])
    with pytest.raises(InputError, match="1 of 1 images are missing"):
        dataset(root, on_bad_sample="skip")


def test_two_index_files_are_one_too_many(root):
    for kind in ("json", "csv"):
        write_index(root, kind, [("a.png", "x")])
    with pytest.raises(InputError, match=r"has metadata\.json and metadata\.csv; keep one of them"):
        dataset(root)


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    (tmp_path / "a.psd").touch()
    with pytest.raises(InputError, match=r"has no images \(\.jpg, \.jpeg, .*\.jxl\) and none of metadata\.json, "):
        dataset(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match=r"data\.dataset_path: .*x is not a folder"):
        dataset(tmp_path / "x")


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab./\\:C"), max_size=8))
def test_a_name_is_refused_or_stays_in_its_folder(name):
    try:
        checked = relative_file(name, "here")
    except InputError as error:
        assert str(error).startswith("here: ")
    else:
        assert os.path.normpath(f"/folder/{checked}").startswith("/folder")


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(["json", "jsonl", "csv"]), data=st.binary(max_size=60))
def test_any_bytes_are_an_index_or_an_input_error(tmp_path_factory, kind, data):
    root = tmp_path_factory.mktemp("any")
    (root / f"metadata.{kind}").write_bytes(data)
    with pytest.raises(InputError, match=f"metadata.{kind}"):
        dataset(root)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["json", "jsonl", "csv"]),
    captions=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(str.strip), min_size=1),
)
def test_any_caption_survives_any_index(tmp_path_factory, kind, captions):
    root = tmp_path_factory.mktemp("any")
    (root / "a.png").touch()
    write_index(root, kind, [("a.png", caption) for caption in captions])
    assert contents(dataset(root)) == {"a.png": tuple(caption.strip() for caption in captions)}


class Context:
    def __init__(self, *written):
        self.path, self.written = ("data",), frozenset(written)


def test_its_path_must_be_written():
    (problem,) = path_is_written(Context(("data", "type")))
    assert (problem.code, problem.path) == ("missing-key", ("data", "dataset_path"))
    assert list(path_is_written(Context(("data", "dataset_path")))) == []


def test_the_real_emoji_are_read(shared_data):
    data = dataset(shared_data / "emoji")
    assert len(data) == 3410
    assert (data[0].key, data[0].captions) == ("0023-fe0f-20e3.png", ("hash key",))
