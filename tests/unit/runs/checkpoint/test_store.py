"""A run's checkpoints: the newest whole one is found, the right ones are kept, none of another run is touched."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_run.problems import InputError
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, load_checkpoint, needed_bytes
from dit_run.runs.checkpoint.commit import MANIFEST, SaveFailed
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.checkpoint.weights import FIRST, load_weights


def contents(value: float = 0.0, **state: Any) -> CheckpointContents:
    weight = torch.full((2, 3), value)
    return CheckpointContents(
        model={"weight": weight},
        averages={"ema": {"weight": weight + 0.5}},
        optimizer={"state": {0: {"step": torch.tensor(value)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        state=state,
        config={"training": {"seed": 1}},
    )


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", "mine")


def save(store: Checkpoints, *steps: int, limit: int | None = None, **kept: Any) -> None:
    for step in steps:
        store.save(step, contents(step), limit=limit, **kept)


def names(store: Checkpoints) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def damage(path: Path) -> None:
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def test_what_is_saved_comes_back(store: Checkpoints) -> None:
    path = store.save(100, contents(3.0, meters={"steps": 2}), limit=3).path
    got = load_checkpoint(path)
    assert path.name == "step-00000100"
    assert torch.equal(got.model["weight"], torch.full((2, 3), 3.0))
    assert torch.equal(got.averages["ema"]["weight"], torch.full((2, 3), 3.5))
    assert got.optimizer["param_groups"] == [{"lr": 1e-4, "params": [0]}]
    assert got.state == {"meters": {"steps": 2}, "step": 100, "run_id": "mine"}
    assert got.config == {"training": {"seed": 1}}


def test_several_averages_come_back_in_their_order(store: Checkpoints) -> None:
    whole = contents(1.0)
    several = {"power": {"weight": torch.zeros(1)}, "ema": {"weight": torch.ones(1)}}
    path = store.save(1, replace(whole, averages=several), limit=3).path
    assert {"average-power.safetensors", "ema.safetensors"} < {file.name for file in path.iterdir()}
    assert list(load_checkpoint(path).averages) == ["power", "ema"]
    assert load_weights(path, average=FIRST)["weight"] == 0
    assert load_weights(path, average="ema")["weight"] == 1
    assert load_weights(path, average=None)["weight"][0, 0] == 1
    assert needed_bytes(replace(whole, averages=several)) - needed_bytes(replace(whole, averages={})) == 8


def test_a_checkpoint_is_these_files(store: Checkpoints) -> None:
    path = store.save(1, contents(), limit=3).path
    assert sorted(file.name for file in path.iterdir()) == [
        "MANIFEST.json", "config.json", "ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip


def test_the_same_state_is_the_same_bytes(store: Checkpoints, tmp_path: Path) -> None:
    other = Checkpoints(tmp_path / "other", "mine")
    first, second = store.save(1, contents(), limit=3).path, other.save(1, contents(), limit=3).path
    assert [file.read_bytes() for file in sorted(first.iterdir())] == [
        file.read_bytes() for file in sorted(second.iterdir())
    ]


def test_weights_alone_are_the_average_where_asked_and_there(store: Checkpoints) -> None:
    path = store.save(1, contents(2.0), limit=3).path
    assert load_weights(path, average=FIRST)["weight"][0, 0] == 2.5
    assert load_weights(path, average=None)["weight"][0, 0] == 2.0


def test_without_checkpoints_there_is_no_newest(store: Checkpoints) -> None:
    assert store.newest_valid().path is None


def test_the_newest_by_number_is_taken(store: Checkpoints) -> None:
    save(store, 99_999_999, 100_000_000, 3)
    assert store.newest_valid().path == store.folder / "step-100000000"


def test_a_damaged_one_is_named_and_passed_over(store: Checkpoints) -> None:
    save(store, 1, 2, 3)
    damage(store.path(3))
    (store.path(2) / "state.json").unlink()
    newest = store.newest_valid()
    assert newest.path == store.path(1)
    assert list(newest.passed_over) == [
        "step-00000003 (model.safetensors does not match its checksum)",
        "step-00000002 (state.json is missing)",
    ]


def test_none_whole_is_refused(store: Checkpoints) -> None:
    save(store, 1)
    damage(store.path(1))
    with pytest.raises(InputError, match=r"but none can be used: step-00000001 \(model.safetensors does not"):
        store.newest_valid()


def test_every_flipped_byte_of_the_newest_leads_to_the_one_before(store: Checkpoints) -> None:
    save(store, 1, 2)
    assert sum(file.stat().st_size for file in store.path(2).iterdir()) <= 8192
    for file in store.path(2).iterdir():
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            newest = store.newest_valid()
            assert newest.path == store.path(1) and newest.passed_over[0].startswith(
                f"{store.path(2).name} ({file.name} "
            )
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            newest = store.newest_valid()
            assert newest.path == store.path(1) and newest.passed_over[0].startswith(
                f"{store.path(2).name} ({file.name} "
            )
        file.write_bytes(whole)
    assert store.newest_valid().path == store.path(2)


def test_the_newest_are_kept(store: Checkpoints) -> None:
    save(store, 1, 2, 3, 4, 5, limit=3)
    assert names(store) == ["step-00000003", "step-00000004", "step-00000005"]


def test_the_best_is_among_those_kept(store: Checkpoints) -> None:
    save(store, 1, 2, 3, 4, 5, limit=3, best_step=2)
    assert names(store) == ["step-00000002", "step-00000004", "step-00000005"]


def test_two_are_kept_at_least(store: Checkpoints) -> None:
    save(store, 1, 2, 3, limit=1)
    assert names(store) == ["step-00000002", "step-00000003"]


def test_protected_steps_stay(store: Checkpoints) -> None:
    save(store, 1, 2, 3, 4, limit=2, protect=(1, 2))
    assert names(store) == ["step-00000001", "step-00000002", "step-00000004"]


def test_no_limit_keeps_all(store: Checkpoints) -> None:
    save(store, 1, 2, 3, 4, limit=None)
    assert len(names(store)) == 4


def test_damaged_ones_do_not_count(store: Checkpoints) -> None:
    save(store, 1, 2, 3)
    damage(store.path(2))
    damage(store.path(3))
    save(store, 4, limit=2)
    assert Checkpoints(store.folder, "mine").newest_valid().path == store.path(4)
    assert "step-00000001" in names(store)


def test_another_run_s_checkpoints_neither_count_nor_go(store: Checkpoints) -> None:
    save(Checkpoints(store.folder, "theirs"), 1, 2, limit=None)
    save(store, 3, 4, 5, limit=2)
    assert names(store) == ["step-00000001", "step-00000002", "step-00000004", "step-00000005"]
    assert store.newest_valid().path == store.path(5)


def test_another_run_s_newest_is_passed_over_by_name(store: Checkpoints) -> None:
    save(store, 1)
    save(Checkpoints(store.folder, "theirs"), 2)
    newest = store.newest_valid()
    assert newest.path == store.path(1)
    assert newest.passed_over[0] == "step-00000002 (state.json belongs to another run, theirs)"


def test_another_run_s_checkpoint_is_never_replaced(store: Checkpoints) -> None:
    save(Checkpoints(store.folder, "theirs"), 1)
    with pytest.raises(SaveFailed, match="is a checkpoint of another run, theirs"):
        save(store, 1)


def test_saving_a_step_again_leaves_it_as_it_is(store: Checkpoints) -> None:
    save(store, 1)
    store.save(1, contents(9.0), limit=3)
    assert load_checkpoint(store.path(1)).model["weight"][0, 0] == 1.0


def test_a_damaged_step_is_saved_again(store: Checkpoints) -> None:
    save(store, 1)
    damage(store.path(1))
    store.save(1, contents(9.0), limit=3)
    assert load_checkpoint(store.path(1)).model["weight"][0, 0] == 9.0


def test_a_damaged_checkpoint_is_never_loaded(store: Checkpoints) -> None:
    save(store, 1)
    damage(store.path(1))
    with pytest.raises(InputError, match=r"step-00000001 is damaged: model\.safetensors does not match its checksum"):
        load_checkpoint(store.path(1))


def test_what_fails_to_save_leaves_the_old_ones(store: Checkpoints) -> None:
    save(store, 1)
    blocked = store.folder / ".step-00000002.partial"
    bad = contents(2.0, note="x")
    with pytest.raises(SaveFailed):
        store.save(2, _unwritable(bad), limit=2)
    assert not blocked.exists()
    assert store.newest_valid().path == store.path(1)


def test_a_number_json_has_no_name_for_is_refused(store: Checkpoints) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        store.save(1, contents(best=float("inf")), limit=2)
    assert names(store) == []


def test_needed_bytes_cover_the_files(store: Checkpoints) -> None:
    path = store.save(1, contents(), limit=2).path
    assert sum(file.stat().st_size for file in path.iterdir()) <= needed_bytes(contents())


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
def test_a_pickle_under_any_name_and_a_fitting_manifest_never_runs(
    store: Checkpoints, tmp_path: Path, file: str
) -> None:
    from dit_run.runs.checkpoint.commit import commit

    path = store.save(1, contents(), limit=2).path
    files = {each.name: each.read_bytes() for each in path.iterdir() if each.name != MANIFEST}
    files[file] = pickle.dumps(_Payload(tmp_path / "ran"))

    def plant(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).write_bytes(data)

    commit(path, plant)
    with pytest.raises(InputError, match=file):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def _unwritable(whole: CheckpointContents) -> CheckpointContents:
    """Contents whose config fails on its way to the disk, after the tensors are there."""

    class Failing(dict[str, Any]):
        def items(self) -> Any:
            raise OSError(5, "Input/output error")

        def __iter__(self) -> Any:
            raise OSError(5, "Input/output error")

    return CheckpointContents(whole.model, whole.optimizer, whole.state, Failing(a=1), whole.averages)
