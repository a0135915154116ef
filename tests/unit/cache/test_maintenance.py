from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from dit_run.cache.builder import Build
from dit_run.cache.locks import hold, unused
from dit_run.cache.maintenance import Verified, info, sweep, verify
from dit_run.cache.records import DamagedRecord, Records
from dit_run.cache.space import Space, Writer
from dit_run.cli.main import main
from dit_run.protocols import TextEncoder

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
    for _ in range(2):  # it is there until it is removed
        found = verify(tmp_path)
        assert (found.records, found.damaged, found.broken_shards) == (4, 1, ())
    assert (damaged.folder / "damaged.txt").read_text() == f"{damaged.shards()[0].name} 1\n"
    assert (Records.open(damaged).find([key(1), key(2), key(3)]) >= 0).tolist() == [True, False, True]


def test_verify_names_broken_shards(tmp_path: Path) -> None:
    (path,) = space(tmp_path, "a", 1).shards()
    path.write_bytes(path.read_bytes()[:40])
    assert path.name in verify(tmp_path).broken_shards[0]


@pytest.mark.parametrize("command", ["info", "verify", "gc"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["cache", command, "--dir", ""]) == 2
    for name, said in (("file", "is a file"), ("missing", "is a folder that does not exist")):
        assert main(["cache", command, "--dir", str(tmp_path / name)]) == 2
        assert f"--dir '{tmp_path / name}' {said}" in capsys.readouterr().err


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


def names(root: Path) -> list[str]:
    """Encoders of the spaces that are left."""
    return sorted(part.settings["encoder"] for part in info(root))


def test_gc_leaves_what_is_in_use_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    used, unused = space(tmp_path, "used", 1, 2, unused_days=40), space(tmp_path, "unused", 3, unused_days=35)
    damage(used, 2)
    assert hold(used.folder, lambda tries: None)
    before = [path.read_bytes() for path in used.shards()]
    assert main(["cache", "gc", "--dir", str(tmp_path), "--max-size", "0"]) == 0
    shown = capsys.readouterr().out
    assert (
        f"kept latents {used.folder.name}  0 kB, which a run is using" in shown
        and "removed 1 parts and 1 records" in shown
    )
    assert [path.read_bytes() for path in used.shards()] == before and not unused.folder.exists()


def test_gc_removes_what_a_killed_process_used(tmp_path: Path) -> None:
    folder = space(tmp_path, "a", 1, unused_days=40).folder
    program = f"""
import pathlib, time
from dit_run.cache.locks import hold
print(hold(pathlib.Path({str(folder)!r}), lambda tries: None), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "True\n"
            in_use = [part.folder for part in sweep(tmp_path, unused_days=30).in_use]
        finally:
            process.kill()
    assert in_use == [folder]
    assert sweep(tmp_path, unused_days=30).spaces == 1


def test_gc_does_not_wait_for_a_builder(tmp_path: Path, text: TextEncoder) -> None:
    build = Build(tmp_path, None)
    with build.alone(build.space("captions", text, "", {})):
        assert (sweep(tmp_path, unused_days=0).spaces, len(info(tmp_path))) == (0, 1)


def test_who_comes_while_gc_removes_makes_a_new_space(tmp_path: Path) -> None:
    old, waits, held = space(tmp_path, "a", 1), threading.Event(), list[bool]()
    thread = threading.Thread(target=lambda: held.append(hold(old.folder, lambda tries: waits.set())))
    with unused(old.folder) as free:
        thread.start()
        assert free and waits.wait(10)
        old.folder.rename(tmp_path / "gone")
    thread.join(10)
    assert held == [False]
    assert hold(Space.of(tmp_path, "latents", {"encoder": "a"}).folder, lambda tries: None)
    assert old.folder.is_dir()


def test_gc_takes_what_a_killed_gc_left(tmp_path: Path) -> None:
    space(tmp_path, "a", 1)
    folder = space(tmp_path, "b", 1).folder
    left = folder.rename(folder.with_name(f".{folder.name}.0.gone"))
    assert names(tmp_path) == ["a"]
    assert sweep(tmp_path, unused_days=30).freed > 0
    assert not left.exists()


def test_the_commands_say_what_they_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(space(tmp_path, "abc", 1, 2), 2)
    assert main(["cache", "info", "--dir", str(tmp_path)]) == 0
    assert main(["cache", "verify", "--dir", str(tmp_path)]) == 1
    assert main(["cache", "gc", "--dir", str(tmp_path), "--max-size", "0"]) == 0
    shown = capsys.readouterr().out
    assert "2 records" in shown and "encoder abc" in shown
    assert "2 records checked, 1 damaged" in shown
    assert "removed 1 parts and 1 records" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gc", "--max-size", "much"], "--max-size: a size such as"),
        (["gc", "--max-size", "inf"], "not 'inf'"),
        (["gc", "--max-size", "1e400"], "not '1e400'"),
        (["gc", "--unused-days", "nan"], "--unused-days takes a number of at least 0, not nan"),
        (["gc", "--unused-days", "-1"], "not -1"),
        (["gc", "--unused-days", "inf"], "not inf"),
        (["verify", "--unused-days", "3"], "options of dit-run cache gc only"),
        (["config.yaml", "--max-size", "5QQ"], "options of dit-run cache gc only"),
        (["info", "nonsense"], "takes no 'nonsense'"),
        ([], "dit-run cache needs a config, or one of info, verify and gc"),
    ],
)
def test_arguments_without_meaning_are_refused(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space(tmp_path, "a", 1)
    assert main(["cache", *arguments, "--dir", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert names(tmp_path) == ["a"]


def test_no_arguments_at_all_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 2
    assert "needs a config" in capsys.readouterr().err


def test_a_folder_in_the_place_of_a_shard_stops_nothing(tmp_path: Path) -> None:
    folder = space(tmp_path, "a", 1).folder
    (folder / "b.safetensors").mkdir()
    assert verify(tmp_path) == Verified(1, 0, ())
    assert sweep(tmp_path, unused_days=30).records == 0
    assert sweep(tmp_path, unused_days=0).spaces == 1


@pytest.mark.parametrize("broken", [b"", b"{", b"[]"])
def test_a_broken_description_is_written_anew(tmp_path: Path, broken: bytes) -> None:
    folder = space(tmp_path, "a", 1).folder
    (folder / "space.json").write_bytes(broken)
    assert info(tmp_path)[0].settings == {}
    Space.of(tmp_path, "latents", {"encoder": "a"})
    assert info(tmp_path)[0].settings == {"encoder": "a"}
