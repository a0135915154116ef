"""Tar shards: samples, captions, errors that name shard and member, and an index that is kept."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tar_shards import write_tar

from dit_run.data.images import image_size, read_image
from dit_run.data.shard_cache import ShardCache
from dit_run.data.shard_indices import indices_of
from dit_run.problems import InputError
from dit_run.protocols import FileRange
from dit_run_plugins.datasets.shard_files import shards_of
from dit_run_plugins.datasets.webdataset import TarShard, WebDataset, build


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), (number, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    numbers = range(first, first + count)
    return [part for n in numbers for part in ((f"{n:04d}.png", png(n)), (f"{n:04d}.txt", f"image {n}".encode()))]


def made(path: object, **options: Any) -> Any:
    skip = options.pop("on_bad_sample", "error")
    return build(WebDataset(dataset_path=str(path), **options), on_bad_sample=skip)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tar(tmp_path / "a-000.tar", samples(0, 3))
    write_tar(tmp_path / "a-001.tar", samples(3, 2))
    return tmp_path


def test_a_json_member_may_weight_its_captions(tmp_path: Path) -> None:
    weighted = json.dumps({"captions": ["one", " ", "two"], "weights": [2, 5, 1]}).encode()
    write_tar(tmp_path / "s.tar", [("1.png", png(1)), ("1.json", weighted), *samples(2, 1)])
    dataset = made(tmp_path)
    assert [dataset[number].weights for number in (0, 1)] == [(2.0, 1.0), ()]
    assert made(tmp_path)[0] == dataset[0]


def scored(path: Path, **scalars: Any) -> Any:
    return build(WebDataset(dataset_path=str(path)), scalars=tuple(scalars))


def test_numbers_in_json_members_become_the_scalars_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    numbers = [("0000.json", b'{"score": 1.5, "width": 640}'), ("0000.more.json", b'{"score": null, "height": "480"}')]
    write_tar(tmp_path / "s.tar", [*samples(0, 1), *numbers, *samples(1, 1)])
    for _ in range(2):  # read, then kept
        for dataset in (built := scored(tmp_path, score=1, height=1), pickle.loads(pickle.dumps(built))):
            assert [dataset[number].scalars for number in (0, 1)] == [{"score": 1.5, "height": 480.0}, {}]
        assert scored(tmp_path, width=1)[0].scalars == {"width": 640.0}
        assert made(tmp_path)[0].scalars == {}


def test_a_scalar_that_is_no_number_or_differs_names_shard_and_member(tmp_path: Path) -> None:
    members = [*samples(0, 1), ("0000.json", b'{"score": 1, "licence": "free"}'), ("0000.b.json", b'{"score": 2}')]
    write_tar(tmp_path / "s.tar", members)
    with pytest.raises(InputError, match=r"s\.tar: 0000\.json: 'licence' must be a number.*, not 'free'"):
        scored(tmp_path, licence=1)
    with pytest.raises(InputError, match=r"s\.tar: 0000\.b\.json: 'score' is 2, but an earlier entry .* has 1"):
        scored(tmp_path, score=1)


@pytest.mark.parametrize("weights", ["[0, 1]", "-1", "[1]", '"x"'])
def test_a_weight_that_is_not_above_0_names_shard_and_member(tmp_path: Path, weights: str) -> None:
    content = f'{{"captions": ["one", "two"], "weights": {weights}}}'.encode()
    write_tar(tmp_path / "s.tar", [("1.png", png(1)), ("1.json", content)])
    with pytest.raises(InputError, match=r"s\.tar: 1\.json holds no caption: 'weights' "):
        made(tmp_path)


def test_samples_are_those_of_the_shards_in_order(folder: Path) -> None:
    dataset = made(folder)
    assert [dataset[number].key for number in range(len(dataset))] == [
        "a-000.tar/0000.png",
        "a-000.tar/0001.png",
        "a-000.tar/0002.png",
        "a-001.tar/0003.png",
        "a-001.tar/0004.png",
    ]
    assert [dataset[number].captions for number in (0, 4)] == [("image 0",), ("image 4",)]
    for number in range(5):
        image = dataset[number].image
        assert isinstance(image, FileRange) and image.read() == png(number)
        assert read_image(image, (8, 8))[0, 0].tolist() == [number, 0, 0]


@pytest.mark.parametrize("pattern", ["a-*.tar", "a-{000..001}.tar", "a-00{0,1}.tar", "{a-000,a-001}.tar"])
def test_shards_are_named_by_patterns(folder: Path, pattern: str) -> None:
    assert len(made(folder / pattern)) == 5


@pytest.mark.parametrize("place", ["https://host/{000..001}.tar", "s3://bucket/a.tar", "shards/*.tar"])
def test_patterns_and_urls_of_shards_are_recognised(place: str) -> None:
    found = WebDataset.recognise(place)
    assert found is not None and found.options == {"dataset_path": place}


def test_shards_lie_in_a_folder_or_else_in_the_folders_in_it(folder: Path, tmp_path: Path) -> None:
    parent = tmp_path / "data[1]"
    for name, place in (("a-000.tar", "x"), ("a-001.tar", "x/y"), ("a-000.tar", ".hidden")):
        (parent / place).mkdir(parents=True, exist_ok=True)
        (parent / place / name).write_bytes((folder / name).read_bytes())
    assert list(made(parent).keys()) == list(made(folder).keys())
    nested = WebDataset.recognise(str(parent))
    assert nested is not None and nested.general
    assert len(made(f"{tmp_path}/data*/**/*.tar")) == 5
    write_tar(parent / "own.tar", samples(5, 1))
    assert list(made(parent).keys()) == ["own.tar/0005.png"]
    own = WebDataset.recognise(str(parent))
    assert own is not None and not own.general


def test_a_file_url_is_a_local_path(folder: Path) -> None:
    dataset = made(f"file://{folder}/a-*.tar")
    assert dataset[0].image == made(folder)[0].image


def test_a_store_that_lists_files_takes_folders_and_patterns(folder: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="dit-run[remote] is not installed")
    for path in folder.glob("*.tar"):
        fsspec.filesystem("memory").pipe(f"/bucket/{path.name}", path.read_bytes())
    cache = ShardCache.of(tmp_path / "cache")
    for place in ("memory://bucket", "memory://bucket/a-*.tar", "memory://bucket/a-{000..001}.tar"):
        dataset = build(WebDataset(dataset_path=place), shard_cache=cache)
        assert [dataset[number].key for number in range(5)] == [made(folder)[number].key for number in range(5)]
        assert dataset[4].image.read() == png(4)
    found = WebDataset.recognise("memory://bucket")
    assert found is not None and found.options == {"dataset_path": "memory://bucket"}
    assert WebDataset.recognise("memory://bucket/none") is None
    with pytest.raises(InputError, match=r"no tar file is found for memory://bucket/b-\*\.tar"):
        build(WebDataset(dataset_path="memory://bucket/b-*.tar"), shard_cache=cache)


def test_a_shard_larger_than_the_cache_is_refused_before_a_sample_is_read(folder: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="dit-run[remote] is not installed")
    files = fsspec.filesystem("memory")
    files.pipe("/large/0.tar", (folder / "a-000.tar").read_bytes())
    large, small = (ShardCache.of(tmp_path / "copies", limit) for limit in (10**6, 1000))
    known = build(WebDataset(dataset_path="memory://large/0.tar"), shard_cache=large)
    assert len(known) == 3
    with pytest.raises(InputError, match=r"large/0\.tar has 10 kB, more than .* cache\.shards_gb, which is 1e-06"):
        build(WebDataset(dataset_path="memory://large/0.tar"), shard_cache=small)


def test_it_travels_to_other_processes(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(made(folder)))
    assert dataset[3] == made(folder)[3]


def test_captions_come_from_text_and_metadata(tmp_path: Path) -> None:
    members = [
        ("a/1.x.jpg", png(1)),
        ("a/1.txt", b"\xef\xbb\xbffirst\n\n second  line \n"),
        ("a/2.jpg", png(2)),
        ("a/2.json", json.dumps({"captions": ["one", " ", "two"], "caption": "no"}).encode()),
        ("a/3.jpg", png(3)),
        ("a/3.json", json.dumps({"prompt": "a prompt", "width": 3}).encode()),
        ("a/3.cls", b"7"),
        ("a/4.txt", b"before"),
        ("a/4.webp", png(4)),
    ]
    lines, whole = (made(write_tar(tmp_path / "s.tar", members), captions=how) for how in ("lines", "whole"))
    assert [lines[n].captions for n in range(4)] == [
        ("first", "second line"),
        ("one", "two"),
        ("a prompt",),
        ("before",),
    ]
    assert whole[0].captions == ("first second line",)


def test_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    members = [*samples(0, 2), ("7.png", png(7)), ("8.txt", b"alone"), ("9.png", png(9))]
    path = write_tar(tmp_path / "s.tar", members)
    with pytest.raises(InputError, match=r"s\.tar: 7\.png has no caption: .*2 of 4 images have none"):
        made(path)
    rows = made(path, on_bad_sample="skip").left_out
    counts = {row.reason: row.count for row in rows}
    assert counts == {"image without a caption": 2, "caption without an image": 1}
    assert rows[0].example.endswith("s.tar: 7.png")


def test_a_shard_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", samples(0, 20))
    content = path.read_bytes()
    for length in (512 * 21 + 100, 512 * 20 + 7, 512 * 20, 300):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cannot read the shard .*s\.tar after (00\d\d\.(png|txt)|its start): "):
            made(path)


@pytest.mark.parametrize("content", [b"no tar", b"", b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"s\.tar"):
        made(tmp_path / "s.tar")


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"text": 3}', b'{"captions": ["a", 1]}'])
def test_metadata_without_a_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_tar(tmp_path / "s.tar", [("1.png", png(1)), ("1.json", content)])
    with pytest.raises(InputError, match=r"s\.tar: 1\.json holds no caption: "):
        made(path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("none/*.tar", "no tar file is found"),
        ("none.tar", "none.tar does not exist"),
        ("a-{000..002}.tar", "a-002.tar does not exist"),
        ("{a-000.tar,b/a-000.tar}", "two shards are named a-000.tar"),
    ],
)
def test_shards_that_are_missing_or_alike_are_refused(folder: Path, pattern: str, message: str) -> None:
    write_tar(folder / "b" / "a-000.tar", samples(0, 1))
    with pytest.raises(InputError, match=message):
        made(folder / pattern)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tar file is found"):
        made(tmp_path)


@pytest.mark.usefixtures("old_files")
def test_a_known_shard_is_not_read_again_and_a_changed_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    before = [made(folder)[n] for n in range(5)]
    known = sorted((folder / "home").glob("dit-run/indexes/*.index"))
    again = made(folder)
    assert [again[n] for n in range(5)] == before
    assert sorted((folder / "home").glob("dit-run/indexes/*.index")) == known and len(known) == 2
    known[0].write_bytes(b"broken")
    assert [made(folder)[n] for n in range(5)] == before
    write_tar(folder / "a-001.tar", samples(3, 4))
    assert len(made(folder)) == 7


@pytest.mark.usefixtures("old_files")
def test_it_travels_to_other_processes_as_the_path_of_its_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    write_tar(folder / "b.tar", [("1.png", png(1)), ("1.txt", b"long " * 20_000)])
    dataset = made(folder)
    content = pickle.dumps(dataset)
    assert len(content) < 10_000
    assert [pickle.loads(content)[n] for n in range(6)] == [dataset[n] for n in range(6)]
    for file in (folder / "home").glob("dit-run/indexes/*.index"):
        file.unlink()
    with pytest.raises(InputError, match=r"the index .* was removed or damaged while it was used; start again"):
        pickle.loads(content)


@pytest.mark.usefixtures("old_files")
def test_indexing_continues_with_the_shards_that_are_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill: the index of a finished shard is kept although the next shard was not indexed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    (folder / "a-001.tar").rename(folder / "whole")
    (folder / "a-001.tar").write_bytes((folder / "whole").read_bytes()[:700])
    with pytest.raises(InputError, match=r"a-001\.tar"):
        made(folder)
    (kept,) = (folder / "home").glob("dit-run/indexes/*.index")
    before = kept.stat()
    (folder / "whole").rename(folder / "a-001.tar")
    assert len(made(folder)) == 5
    assert kept.stat().st_mtime_ns == before.st_mtime_ns


def test_the_index_has_the_sizes_of_upright_images(tmp_path: Path) -> None:
    members = []
    for number, (suffix, options) in enumerate(
        [("jpg", {}), ("jpg", {"exif": exif(6)}), ("jpg", {"comment": b"x" * 9000}), ("png", {}), ("webp", {})]
    ):
        stream = io.BytesIO()
        Image.new("RGB", (30 + number, 20)).save(stream, "JPEG" if suffix == "jpg" else suffix, **options)
        members += [(f"{number}.{suffix}", stream.getvalue()), (f"{number}.txt", b"a")]
    members += [("8.jpg", b"no image"), ("8.txt", b"a")]
    dataset = made(write_tar(tmp_path / "s.tar", members))
    sizes = dataset.image_sizes(np.array([5, 1, 0, 4, 2, 3]))
    assert sizes.tolist() == [[0, 0], [31, 20], [20, 30], [20, 34], [20, 32], [20, 33]]
    for number, size in zip((1, 0, 4, 2, 3), sizes.tolist()[1:], strict=True):
        assert image_size(dataset[number].image) == tuple(size)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def test_long_names_are_read(tmp_path: Path) -> None:
    name = "folder/" + "n" * 150
    dataset = made(write_tar(tmp_path / "s.tar", [(f"{name}.png", png(1)), (f"{name}.txt", "Größe".encode())]))
    assert dataset[0].key == f"s.tar/{name}.png" and dataset[0].captions == ("Größe",)
    assert np.array_equal(read_image(dataset[0].image, (8, 12)), read_image(dataset[0].image, (8, 12)))


@pytest.mark.slow
def test_several_processes_build_the_same_index(folder: Path) -> None:
    shards = [TarShard(source, whole=False) for source in shards_of(str(folder), ".tar", None)]
    built = indices_of(shards, workers=2)
    for shard, index in zip(shards, built, strict=True):
        assert {name: each.tolist() for name, each in index.items()} == {
            name: each.tolist() for name, each in shard.build().items()
        }
