"""Dimensions: known sizes of datasets and of mixtures, and sizes from the first bytes of a JPEG."""

from __future__ import annotations

import io
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dit_run.data.dimensions import UNKNOWN, known_sizes, size_in, sizes_of
from dit_run.data.jpeg_size import jpeg_size
from dit_run.problems import InputError
from dit_run.protocols import DatasetPart, Sample
from dit_run.registry.kind_options import DatasetCommon


@dataclass(frozen=True)
class Plain:
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), ("a",), Path(f"{index}.png"))


class Known(Plain):
    def image_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.stack([indices + 100, indices + 200], axis=1)


@dataclass(frozen=True)
class Mixture(Plain):
    mixed_parts: tuple[DatasetPart, ...]


def part(dataset: Plain) -> DatasetPart:
    return DatasetPart("p", dataset, 1.0, DatasetCommon())


def encoded(format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(stream, format, **options)
    return stream.getvalue()


def turned() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


def whole_is_not_read() -> bytes:
    raise AssertionError("the whole image is read")


def test_each_part_of_a_mixture_gives_the_sizes_that_it_knows() -> None:
    mixture = Mixture(9, (part(Known(3)), part(Plain(2)), part(Known(4))))
    assert known_sizes(mixture, np.array([8, 4, 0, 2])).tolist() == [[103, 203], [0, 0], [100, 200], [102, 202]]
    assert known_sizes(Plain(3), np.array([1])).tolist() == [list(UNKNOWN)]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"dpi": (72, 72)}, {"comment": b"x" * 500}])
def test_the_start_of_a_jpeg_has_its_size(options: dict[str, object]) -> None:
    start = encoded(**options)[:1500]
    assert jpeg_size(start) == size_in(start, whole_is_not_read) == (40, 60)


def test_a_jpeg_that_is_turned_or_begins_late_is_read_further() -> None:
    sideways, late = encoded(exif=turned()), encoded(comment=b"x" * 9000)
    assert jpeg_size(sideways) is None and size_in(sideways[:3072], whole_is_not_read) == (60, 40)
    assert jpeg_size(late[:3072]) is None and size_in(late[:3072], lambda: late) == (40, 60)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\0", b"text", encoded()[:100]])
def test_what_is_no_image_has_no_size(content: bytes) -> None:
    assert jpeg_size(content) is None and size_in(content, lambda: content) == UNKNOWN


def test_other_formats_are_read_whole() -> None:
    content = encoded("PNG")
    assert size_in(content[:100], lambda: content) == (40, 60)


@dataclass(frozen=True)
class Files(Plain):
    root: Path

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), ("a",), self.root / f"{index}.jpg")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Three images of which the second is broken, some time after they were written, and no kept sizes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number, content in enumerate((encoded(), b"no image", encoded(exif=turned()))):
        (tmp_path / f"{number}.jpg").write_bytes(content)
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    return Files(3, tmp_path)


def database(files: Files) -> sqlite3.Connection:
    return sqlite3.connect(files.root / "cache" / "dit-run" / "indexes" / "image_sizes.sqlite", isolation_level=None)


def readable(files: Files) -> list[object]:
    """Return the size of each image, or the name of the file that an error tells."""
    errors: dict[int, InputError] = {}
    sizes = sizes_of(files, np.arange(len(files))[::-1], errors.__setitem__)[::-1]
    found = list[object](map(tuple, sizes.tolist()))
    for place, error in errors.items():
        assert found[2 - place] == UNKNOWN and f"{2 - place}.jpg" in str(error)
        found[2 - place] = "broken"
    return found


def test_sizes_of_files_are_kept_and_not_read_again(files: Files) -> None:
    assert readable(files) == [(40, 60), "broken", (60, 40)]
    assert database(files).execute("SELECT count(*) FROM files").fetchone() == (2,)
    database(files).execute("UPDATE files SET height_width = ?", (bytes([7, 0, 0, 0, 9, 0, 0, 0]),))
    assert readable(files) == [(7, 9), "broken", (7, 9)]


def test_the_size_of_a_changed_file_is_read_again(files: Files) -> None:
    readable(files)
    for name in ("0.jpg", "1.jpg"):
        Image.new("L", (5, 3)).save(files.root / name)
    assert readable(files) == [(3, 5), (3, 5), (60, 40)]


def test_sizes_are_found_where_nothing_can_be_kept(files: Files) -> None:
    (files.root / "cache").write_text("this is no folder")
    assert readable(files) == [(40, 60), "broken", (60, 40)]
