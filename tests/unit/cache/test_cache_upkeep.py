from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from dit_run.cache.records import DamagedRecord, Records
from dit_run.cache.space import Space, Writer
from dit_run.cache.upkeep import info, sweep, verify
from dit_run.cli.main import main

DAY = 86400


def key(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8


def space(root: Path, name: str, *numbers: int, unused_days: float = 0) -> Space:
    """A space with one shard of a record for each number, last used so long ago."""
    made = Space.of(root, "latents", {"encoder": name})
    with Writer(made, torch.float32) as writer:
        for number in numbers:
            writer.add(key(number), torch.full((8,), float(number)))
    then = time.time() - unused_days * DAY
    os.utime(made.folder / "space.json", (then, then))
    return made


def damage(of: Space, number: int) -> None:
    value = torch.tensor(float(number)).numpy().tobytes() * 8
    (path,) = of.shards()
    data = bytearray(path.read_bytes())
    data[data.index(value)] ^= 1
    path.write_bytes(data)


def test_info_lists_parts_by_last_use(tmp_path: Path) -> None:
    space(tmp_path, "old", 1, unused_days=5)
    space(tmp_path, "new", 1, 2)
    parts = info(tmp_path)
    assert [(part.kind, part.settings, part.records) for part in parts] == [
        ("latents", {"encoder": "new"}, 2),
        ("latents", {"encoder": "old"}, 1),
    ]
    assert all(part.size > 0 for part in parts)


def test_verify_finds_and_notes_what_is_damaged(tmp_path: Path) -> None:
    damaged = space(tmp_path, "a", 1, 2, 3)
    space(tmp_path, "b", 1)
    damage(damaged, 2)
    found = verify(tmp_path)
    assert (found.records, found.damaged, found.broken_shards) == (4, 1, ())
    assert (Records.open(damaged).find([key(1), key(2), key(3)]) >= 0).tolist() == [True, False, True]


def test_verify_names_broken_shards(tmp_path: Path) -> None:
    (path,) = space(tmp_path, "a", 1).shards()
    path.write_bytes(path.read_bytes()[:40])
    assert path.name in verify(tmp_path).broken_shards[0]


def test_gc_removes_what_no_run_used_for_long(tmp_path: Path) -> None:
    old, new = space(tmp_path, "old", 1, 2, unused_days=40), space(tmp_path, "new", 3, unused_days=20)
    swept = sweep(tmp_path, unused_days=30)
    assert (swept.spaces, swept.records) == (1, 2) and swept.freed > 0
    assert not old.folder.exists() and new.folder.exists()


def test_gc_keeps_to_a_size_by_removing_the_longest_unused(tmp_path: Path) -> None:
    spaces = [space(tmp_path, str(days), 1, unused_days=days) for days in (1, 2, 3)]
    sweep(tmp_path, unused_days=30, max_bytes=info(tmp_path)[0].size + 10)
    assert [each.folder.exists() for each in spaces] == [True, False, False]


def test_gc_takes_out_damaged_records_and_leaves_the_others(tmp_path: Path) -> None:
    damaged = space(tmp_path, "a", 1, 2, 3)
    damage(damaged, 2)
    reader = Records.open(damaged)
    with pytest.raises(DamagedRecord):
        reader.read(int(reader.find([key(2)])[0]))
    assert sweep(tmp_path, unused_days=30).records == 1
    records = Records.open(damaged)
    assert [records.read(int(place))[0] for place in records.find([key(1), key(3)])] == [1, 3]
    assert verify(tmp_path).damaged == 0
    assert reader.read(int(reader.find([key(3)])[0]))[0] == 3


def test_gc_takes_leftovers_of_killed_builders_but_not_of_running_ones(tmp_path: Path) -> None:
    folder = space(tmp_path, "a", 1).folder
    for name, age in ((".dead.1.partial", 2 * 3600), (".live.2.partial", 0)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    sweep(tmp_path, unused_days=30)
    assert [path.name for path in folder.glob(".*")] == [".live.2.partial"]


def test_opening_a_space_is_using_it(tmp_path: Path) -> None:
    old = space(tmp_path, "a", 1, unused_days=40)
    Space.of(tmp_path, "latents", {"encoder": "a"})
    sweep(tmp_path, unused_days=30)
    assert old.folder.exists()


def test_the_commands_say_what_they_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(space(tmp_path, "abc", 1, 2), 2)
    assert main(["cache", "info", "--dir", str(tmp_path)]) == 0
    assert main(["cache", "verify", "--dir", str(tmp_path)]) == 1
    assert main(["cache", "gc", "--dir", str(tmp_path), "--max-size", "0"]) == 0
    shown = capsys.readouterr().out
    assert "2 records" in shown and "encoder abc" in shown
    assert "2 records checked, 1 damaged" in shown
    assert "removed 1 parts and 1 records" in shown


@pytest.mark.parametrize("arguments", [["gc", "--max-size", "much"], ["info", "nonsense"]])
def test_arguments_without_meaning_are_refused(arguments: list[str], tmp_path: Path) -> None:
    assert main(["cache", *arguments, "--dir", str(tmp_path)]) == 2
