"""Members of tar archives: the same as Python's tarfile finds, in every format, and clear errors."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_run.data.tar_members import DamagedTar, Member, TarMembers

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
NAMES = ("1.jpg", "ä/2.jpg", "f" * 90 + "/" + "n" * 90 + ".txt", "f" * 120 + "/" + "n" * 99)


def archive(path: Path, names: tuple[str, ...], format: int, **fields: object) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for number, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size = 700 * number
            for field, value in fields.items():
                setattr(entry, field, value)
            tar.addfile(entry, io.BytesIO(bytes([number]) * entry.size))
    return path


def members(path: Path) -> list[Member]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(TarMembers(descriptor, path.stat().st_size))
    finally:
        os.close(descriptor)


def by_tarfile(path: Path) -> list[Member]:
    with tarfile.open(path) as tar:
        return [Member(each.name, each.offset_data, each.size) for each in tar if each.isfile()]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mtime", [0, 1_700_000_000.25])
def test_members_are_those_of_tarfile(tmp_path: Path, format: int, mtime: float) -> None:
    path = archive(tmp_path / "s.tar", NAMES, format, mtime=mtime)
    assert members(path) == by_tarfile(path)
    assert [member.name for member in members(path)] == list(NAMES)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=300), max_size=5))
def test_any_name_is_read(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = archive(tmp_path_factory.mktemp("tar") / "s.tar", tuple(names), tarfile.GNU_FORMAT)
    assert [member.name for member in members(path)] == names


def test_folders_links_and_devices_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            entry = tarfile.TarInfo(f"member {kind!r}")
            entry.type, entry.linkname = kind, "l" * 150
            tar.addfile(entry)
        tar.addfile(tarfile.TarInfo("file"))
    assert [member.name for member in members(path)] == ["file"]


def test_a_size_of_eight_gigabytes_is_read(tmp_path: Path) -> None:
    size, path = 9 * 2**30 + 7, tmp_path / "s.tar"
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        entry = tarfile.TarInfo("large")
        entry.size = size
        head = entry.tobuf(format)
        with path.open("wb") as file:
            file.write(head)
            file.truncate(len(head) + -(-size // 512) * 512 + 1024)
        assert members(path) == [Member("large", len(head), size)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "less than one block"),
        (b"x" * 600, "the checksum of the next header is wrong$"),
        (b"\x1f\x8b" + bytes(600), "it is compressed: unpack it with gunzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "it is compressed"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(DamagedTar, match=message):
        members(tmp_path / "s.tar")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.tar", NAMES, tarfile.PAX_FORMAT)
    content = path.read_bytes().rstrip(b"\0")
    whole = -(-len(content) // 512) * 512
    for length in [*range(0, whole + 1, 256), whole + 511]:
        path.write_bytes(content.ljust(whole + 1024, b"\0")[:length])
        with pytest.raises(DamagedTar):
            members(path)


@pytest.mark.parametrize(
    ("extended", "message"),
    [
        (b"19 GNU.sparse.x=12\n", "sparse"),
        (b"12 size=abc\n", "no number"),
        (b"9 x", "broken"),
        (b"x" * (2**20 + 1), "an extended header has 1,048,577 bytes"),
    ],
)
def test_extended_headers_that_cannot_be_used_are_refused(tmp_path: Path, extended: bytes, message: str) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("x")
        entry.type, entry.size = tarfile.XHDTYPE, len(extended)
        tar.addfile(entry, io.BytesIO(extended))
        tar.addfile(tarfile.TarInfo("file"))
    with pytest.raises(DamagedTar, match=message):
        members(path)
