from __future__ import annotations

import pickle
import resource
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.cache.locks import building, looking
from dit_run.cache.records import CurrentRecords, DamagedRecord, Records
from dit_run.cache.space import Space, Writer


def key(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8


def filled(root: Path, *numbers: int) -> Space:
    """A space with a shard for each number, whose record is that number twice."""
    space = Space.of(root, "latents", {"encoder": "e"})
    for number in numbers:
        with Writer(space, torch.float32) as writer:
            writer.add(key(number), torch.full((2,), float(number)))
    return space


def damage(space: Space, number: int) -> None:
    """Flip a bit of the record with this number."""
    value = torch.tensor(float(number)).numpy().tobytes() * 2
    path = next(path for path in space.shards() if value in path.read_bytes())
    data = bytearray(path.read_bytes())
    data[data.index(value)] ^= 1
    path.write_bytes(data)


def test_records_are_found_by_key_in_any_shard(tmp_path: Path) -> None:
    records = Records.open(filled(tmp_path, 5, 3, 9))
    places = records.find([key(9), key(4), key(3), key(5)])
    assert places[1] == -1
    assert [records.read(int(place)).tolist() for place in places[[0, 2, 3]]] == [[9, 9], [3, 3], [5, 5]]


def test_more_shards_than_files_may_be_open_at_first_are_all_found(tmp_path: Path) -> None:
    space = filled(tmp_path, *range(40))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, before[1]))
    try:
        assert len(Records.open(space)) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_space_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    space = filled(tmp_path, 1, 2)
    records = Records.open(space)
    assert Records.open(space, records) is records
    space.note_damage(space.shards()[0].name, [0])
    noted = Records.open(space, records)
    assert (len(records), len(noted)) == (2, 1)
    filled(tmp_path, 3)
    assert len(Records.open(space, noted)) == 2


def test_the_same_keys_are_looked_up_again_only_after_a_change(tmp_path: Path) -> None:
    current, keys = CurrentRecords(filled(tmp_path, 1, 2)), [key(1), key(3)]
    places = current.find(keys)
    assert [place >= 0 for place in places] == [True, False]
    assert current.find(keys) is places
    assert [place >= 0 for place in current.find([key(2)])] == [True]
    filled(tmp_path, 3)
    assert [place >= 0 for place in current.find(keys)] == [True, True]


def test_an_empty_space_has_nothing(tmp_path: Path) -> None:
    assert Records.open(filled(tmp_path)).find([key(1), key(2)]).tolist() == [-1, -1]


@pytest.mark.slow
@given(st.lists(st.binary(min_size=32, max_size=32), unique=True, min_size=1, max_size=20), st.data())
def test_any_keys_are_told_apart(
    tmp_path_factory: pytest.TempPathFactory, keys: list[bytes], data: st.DataObject
) -> None:
    space = Space.of(tmp_path_factory.mktemp("cache"), "latents", {})
    kept = data.draw(st.sets(st.sampled_from(keys)))
    with Writer(space, torch.float32) as writer:
        for each in kept:
            writer.add(each, torch.tensor([float(keys.index(each))]))
    records = Records.open(space)
    for number, place in enumerate(records.find(keys).tolist()):
        assert (place >= 0) == (keys[number] in kept)
        assert place < 0 or records.read(place).tolist() == [number]


def test_it_travels_without_its_maps_and_reads_the_same(tmp_path: Path) -> None:
    records = Records.open(filled(tmp_path, 1, 2))
    data = pickle.dumps(records)
    place = int(records.find([key(2)])[0])
    assert len(data) < 2000
    assert pickle.loads(data).read(place).tolist() == [2, 2]


def test_a_damaged_record_is_named_and_counts_as_missing_from_then_on(tmp_path: Path) -> None:
    space = filled(tmp_path, 1, 2)
    damage(space, 2)
    records = Records.open(space)
    place = int(records.find([key(2)])[0])
    with pytest.raises(DamagedRecord, match=r"latents/.*\.safetensors: record 0 of the cache is damaged"):
        records.read(place)
    assert (Records.open(space).find([key(1), key(2)]) >= 0).tolist() == [True, False]


def test_all_that_is_damaged_in_a_shard_is_noted_at_once(tmp_path: Path) -> None:
    space = filled(tmp_path)
    with Writer(space, torch.float32) as writer:
        for number in range(5):
            writer.add(key(number), torch.full((2,), float(number)))
    for number in (1, 3, 4):
        damage(space, number)
    records = Records.open(space)
    with pytest.raises(
        DamagedRecord, match=r"3 records of the cache are damaged\. Start again: only these records are encoded again"
    ):
        records.read(int(records.find([key(3)])[0]))
    found = Records.open(space).find([key(number) for number in range(5)]) >= 0
    assert found.tolist() == [True, False, True, False, False]


def test_damage_that_cannot_be_noted_is_told_so(tmp_path: Path) -> None:
    space = filled(tmp_path, 1)
    damage(space, 1)
    (space.folder / "damaged.txt").mkdir()
    records = Records.open(space)
    with pytest.raises(
        DamagedRecord,
        match=r"record 0 .* cannot be noted there and will be met again: set cache\.dir to another folder",
    ):
        records.read(int(records.find([key(1)])[0]))


def test_each_record_is_checked_once_in_a_process(tmp_path: Path) -> None:
    space = filled(tmp_path, 1)
    records = Records.open(space)
    place = int(records.find([key(1)])[0])
    first = records.read(place)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 7
    damage(space, 1)
    assert records.read(place).tolist() != [1, 1]
    with pytest.raises(DamagedRecord):
        Records.open(space).read(place)


def test_a_broken_shard_is_left_out(tmp_path: Path) -> None:
    space = filled(tmp_path, 1, 2)
    space.shards()[0].write_bytes(b"no shard")
    assert len(Records.open(space)) == 1


def test_other_settings_are_another_space(tmp_path: Path) -> None:
    first, second = (Space.of(tmp_path, "latents", {"size": size}) for size in (1, 2))
    assert first.folder != second.folder
    assert first.describe() == {"kind": "latents", "size": 1}


def test_after_the_first_all_others_look_together(tmp_path: Path) -> None:
    space, waiting, together = filled(tmp_path), threading.Semaphore(0), threading.Barrier(2)
    found: list[bool] = []

    def other() -> None:
        with looking(space.folder, lambda tries: waiting.release()) as alone:
            together.wait(10)
            found.append(alone)

    threads = [threading.Thread(target=other) for _ in range(2)]
    with looking(space.folder, lambda tries: None) as alone:
        found.append(alone)
        for thread in threads:
            thread.start()
        assert waiting.acquire(timeout=10) and waiting.acquire(timeout=10)
    for thread in threads:
        thread.join(10)
    assert found == [True, False, False]


def test_the_second_builder_waits_for_the_first(tmp_path: Path) -> None:
    space, order, waits = filled(tmp_path), [], threading.Event()

    def second() -> None:
        with building(space.folder, lambda tries: waits.set()):
            order.append("second")

    with building(space.folder, lambda tries: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_writer_keeps_what_was_added_before_an_error(tmp_path: Path) -> None:
    space = filled(tmp_path)
    with pytest.raises(KeyboardInterrupt), Writer(space, torch.bfloat16) as writer:
        writer.add(key(1), torch.ones(3))
        raise KeyboardInterrupt
    assert len(Records.open(space)) == 1


def test_a_pickle_in_the_place_of_a_shard_is_left_out_and_never_runs(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    space = filled(tmp_path, 1)
    (space.folder / "a.safetensors").write_bytes(pickle.dumps(Payload()))
    torch.save(Payload(), space.folder / "b.safetensors")
    assert len(Records.open(space)) == 1
    assert not (tmp_path / "ran").exists()
