"""Indexes of spaces: they find what the shards hold, and one that is damaged or of other shards is never used."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dit_run.cache.maintenance import info, sweep, verify
from dit_run.cache.records import CurrentRecords, DamagedRecord, Records
from dit_run.cache.shards import Shard
from dit_run.cache.space import Space, Writer
from dit_run.cache.space_index import indexes


def key(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8


def write(space: Space, *numbers: int) -> None:
    """Write a shard of these numbers, each with itself as its record."""
    with Writer(space, torch.float32) as writer:
        for number in numbers:
            writer.add(key(number), torch.tensor([float(number)]))


@pytest.fixture
def space(tmp_path: Path) -> Space:
    """A space of three shards; one record is in two of them."""
    space = Space.of(tmp_path, "latents", {})
    for numbers in ((5, 1, 9), (3, 7), (2, 7)):
        write(space, *numbers)
    return space


def index(space: Space) -> Path:
    """Store the index."""
    (name,) = CurrentRecords(space, indexed_from=1).store_index()
    return space.folder / name


def found(records: Records) -> dict[int, float]:
    """The records of the numbers below 10 that are found."""
    places = records.find([key(number) for number in range(10)]).tolist()
    return {number: float(records.read(place)[0]) for number, place in enumerate(places) if place >= 0}


ALL = {number: float(number) for number in (1, 2, 3, 5, 7, 9)}


def test_a_stored_index_finds_the_records_and_opens_no_shard_before_they_are_read(space: Space) -> None:
    path = index(space)
    records = Records.open(space)
    assert records.index.path == path and path.suffix == ".index"
    for shard in space.shards():
        shard.rename(shard.with_suffix(".away"))
    assert (records.find([key(number) for number in (9, 4, 2)]) >= 0).tolist() == [True, False, True]
    for shard in space.folder.glob("*.away"):
        shard.rename(shard.with_suffix(".safetensors"))
    assert found(records) == ALL and len(records) == 7


def test_small_spaces_have_no_index(space: Space) -> None:
    assert CurrentRecords(space, indexed_from=8).store_index() == []
    assert CurrentRecords(space).store_index() == []
    assert indexes(space.folder) == []


def test_the_index_of_a_cache_without_one_is_stored_once(space: Space) -> None:
    before = index(space).stat()
    assert index(space).stat() == before


def test_an_index_travels_as_its_path(space: Space) -> None:
    index(space)
    records = Records.open(space)
    assert found(pickle.loads(pickle.dumps(records))) == ALL
    assert b"prefixes" not in pickle.dumps(records)


def test_new_shards_are_found_and_a_new_index_has_them(space: Space) -> None:
    old = index(space)
    write(space, 4)
    assert Records.open(space).index.path is None
    assert found(Records.open(space)) == ALL | {4: 4.0}
    assert index(space) != old
    assert found(Records.open(space)) == ALL | {4: 4.0}


def test_an_announced_index_is_used_though_no_list_has_it(space: Space) -> None:
    path = index(space)
    hidden = path.rename(path.with_name("." + path.name))
    current = CurrentRecords(space)
    assert current().index.path is None
    hidden.rename(path)
    current = CurrentRecords(space)
    current.announce([path.name])
    assert current().index.path == path


def test_a_bit_that_changed_anywhere_in_an_index_refutes_it(space: Space) -> None:
    path = index(space)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert Records.open(space).index.path is None, at
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert Records.open(space).index.path is None
    assert found(Records.open(space)) == ALL


def test_a_shard_with_the_same_name_and_size_but_other_keys_gives_no_wrong_record(space: Space) -> None:
    index(space)
    first, other = space.shards()[0], Space.of(space.folder.parent, "latents", {"other": 1})
    write(other, *(number + 100 for number in range(len(Shard(first)))))
    (replacement,) = other.shards()
    if replacement.stat().st_size != first.stat().st_size:
        os.truncate(replacement, first.stat().st_size)
    records = Records.open(space)
    shutil.copy(replacement, first)
    place = next(place for place in records.index.columns["places"].tolist() if place >> 32 == 0)
    with pytest.raises(DamagedRecord, match=r"it has changed since it was indexed\. Start again"):
        records.read(place)
    assert indexes(space.folder) == [] and Records.open(space).index.path is None


def test_a_shard_that_is_cut_short_or_missing_refutes_the_index(space: Space) -> None:
    index(space)
    first, second = space.shards()[:2]
    os.truncate(first, first.stat().st_size - 1)
    assert Records.open(space).index.path is None
    first.unlink()
    second.unlink()
    assert Records.open(space).index.path is None
    assert len(found(Records.open(space))) in (2, 3)


def test_broken_shards_leave_a_space_without_an_index(space: Space) -> None:
    space.shards()[0].write_bytes(b"no shard")
    assert CurrentRecords(space, indexed_from=1).store_index() == []
    assert indexes(space.folder) == []


def test_damaged_records_count_as_missing_but_their_copies_do_not(space: Space) -> None:
    index(space)
    for number in (9, 7):
        records = Records.open(space)
        place = int(records.find([key(number)])[0])
        space.note_damage(records.index.names[place >> 32], [place & 0xFFFF])
    records = Records.open(space)
    assert records.index.path is not None
    assert found(records) == {number: value for number, value in ALL.items() if number != 9}
    assert len(records) == 5


def test_equal_first_bytes_are_told_apart(tmp_path: Path) -> None:
    space, alike = Space.of(tmp_path, "latents", {}), [bytes(8) + bytes([number]) * 24 for number in range(5)]
    with Writer(space, torch.float32) as writer:
        for number in (3, 1, 4):
            writer.add(alike[number], torch.tensor([float(number)]))
    records = Records.open(space)
    places = records.find(alike).tolist()
    assert [place >= 0 for place in places] == [False, True, False, True, True]
    assert [float(records.read(places[number])[0]) for number in (1, 3, 4)] == [1, 3, 4]
    (place,) = records.find(
        [alike[3]],
    )
    assert records.index.find([alike[3]], without=[int(place)]).tolist() == [-1]


def test_verification_is_remembered_when_a_shard_is_mapped_again(space: Space) -> None:
    records = replace(Records.open(space), most_mapped=1)
    assert found(records) == ALL
    for path in space.shards():
        whole = path.read_bytes()
        begin = 8 + int.from_bytes(whole[:8], "little")
        start, end = json.loads(whole[8:begin])["values"]["data_offsets"]
        path.write_bytes(whole[: begin + start] + bytes(end - start) + whole[begin + end :])
    assert found(records) == dict.fromkeys(ALL, 0.0)
    with pytest.raises(DamagedRecord):
        found(Records.open(space))


def test_maintenance_keeps_the_current_index_alone(space: Space, tmp_path: Path) -> None:
    old = index(space)
    write(space, 8)
    new = index(space)
    assert sorted(indexes(space.folder)) == sorted([old, new])
    assert info(tmp_path)[0].records == 8
    freed = sweep(tmp_path, unused_days=30).freed
    assert indexes(space.folder) == [new] and freed > 0
    space.shards()[0].write_bytes(b"no shard")
    assert len(verify(tmp_path).broken_shards) == 1
    assert indexes(space.folder) == []
