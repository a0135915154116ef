"""Files of tensors: whole, in parts, and parts that several processes commit together."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from dit_run.compute.distributed import Processes
from dit_run.compute.split_tensor import SplitTensor, StoredTensor, join
from dit_run.problems import DitRunError, InputError
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, load_checkpoint
from dit_run.runs.checkpoint.commit import MANIFEST, committing, entry_of, find_damage
from dit_run.runs.checkpoint.part_files import OPTIMIZER, WEIGHTS, Part, read_tensors, tensor_files, write_tensors
from dit_run.runs.checkpoint.safetensors_file import read_safetensors, write_safetensors
from dit_run.runs.checkpoint.store import Checkpoints, Saved
from dit_run.runs.checkpoint.weights import FIRST, kept_averages, load_weights, newest_weights

WHOLE = {
    "matrix": torch.arange(10.0).view(5, 2),
    "half": torch.arange(3.0).bfloat16(),
    "short": torch.tensor([True]),
    "count": torch.tensor(7),
}
ROWS = {"matrix": (0, 3), "half": (0, 2), "short": (0, 1)}
"""First rows of the sharded tensors in each of two parts."""


def part_of(tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return the rows of a part; a tensor that is not sharded is whole in both."""
    return {
        name: value.tensor_split([ROWS[name][1]])[index] if name in ROWS else value for name, value in tensors.items()
    }


def contents(index: int, tensors: dict[str, Tensor] = WHOLE) -> CheckpointContents:
    rows = {name: first[index] for name, first in ROWS.items()}
    own = part_of(tensors, index)
    return CheckpointContents(
        model=own,
        optimizer={"state": {0: own}},
        state={"best": {}},
        config={},
        averages={"ema": own},
        part=Part(index, 2),
        first_rows={"model": rows, "ema": rows, "optimizer": {f"state/0/{name}": row for name, row in rows.items()}},
    )


@dataclass(frozen=True)
class Threads(Processes):
    """Two processes that are threads of this one."""

    barrier: Any = None
    shared: Any = None

    def _exchange(self, value: Any) -> list[Any]:
        self.shared[self.rank] = value
        self.barrier.wait(30)
        values = list(self.shared)
        self.barrier.wait(30)
        return values

    def broadcast(self, value: Any) -> Any:
        return self._exchange(value)[0]

    def gather(self, value: Any) -> list[Any]:
        return self._exchange(value)


def together(save: Callable[[Processes], Saved]) -> list[Saved | DitRunError]:
    """Call a function in two processes, and return what each of them got."""
    barrier, shared, results = threading.Barrier(2), [None, None], cast(list[Any], [None, None])

    def work(rank: int) -> None:
        try:
            results[rank] = save(Threads(rank, 2, barrier=barrier, shared=shared))
        except DitRunError as error:
            results[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def saved_at(folder: Path) -> list[Saved | DitRunError]:
    return together(lambda each: Checkpoints(folder, "one").save_together(4, contents(each.rank), each, limit=2))


def equal(found: Mapping[str, StoredTensor]) -> bool:
    joined = {name: join(value) for name, value in found.items()}
    return joined.keys() == WHOLE.keys() and all(
        torch.equal(joined[name], value) and joined[name].dtype == value.dtype for name, value in WHOLE.items()
    )


def test_parts_are_one_checkpoint_of_format_2_and_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "step-00000004"
    assert saved_at(tmp_path) == [Saved(path), Saved(path)]
    assert json.loads((path / MANIFEST).read_bytes())["format"] == 2
    assert tensor_files(path, OPTIMIZER) == [f"optimizer-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert find_damage(path) == []
    loaded = load_checkpoint(path)
    assert equal(loaded.model) and equal(loaded.averages["ema"]) and equal(loaded.optimizer["state"][0])
    assert isinstance(loaded.model["matrix"], SplitTensor) and loaded.model["matrix"].shape == (5, 2)
    assert (loaded.state["step"], loaded.state["run_id"]) == (4, "one")
    assert kept_averages(path) == ("ema",)
    assert equal(load_weights(path, average=FIRST)) and equal(load_weights(path, average=None))
    assert read_safetensors(path / "model-00002-of-00002.safetensors")[0].keys() == ROWS.keys()


def test_the_same_step_is_not_written_again(tmp_path: Path) -> None:
    saved_at(tmp_path)
    manifest = (tmp_path / "step-00000004" / MANIFEST).stat().st_mtime_ns
    assert all(isinstance(each, Saved) for each in saved_at(tmp_path))
    assert (tmp_path / "step-00000004" / MANIFEST).stat().st_mtime_ns == manifest


def test_a_disk_that_fails_one_process_fails_all_and_leaves_nothing(tmp_path: Path) -> None:
    def save(each: Processes) -> Saved:
        folder = tmp_path / "run" if each.first else tmp_path / "elsewhere"
        return Checkpoints(folder, "one").save_together(4, contents(each.rank), each, limit=2)

    path = tmp_path / "run" / "step-00000004"
    told = [str(each) for each in together(save)]
    assert told == [f"{path} could not be written: No such file or directory"] * 2
    assert [*(tmp_path / "run").iterdir()] == []


def test_a_process_of_another_replica_writes_nothing_and_gets_the_result(tmp_path: Path) -> None:
    def save(each: Processes) -> Saved:
        own = replace(contents(0), part=Part(0, 1)) if each.first else None
        return Checkpoints(tmp_path, "one").save_together(4, own, each, limit=2)

    path = tmp_path / "step-00000004"
    assert together(save) == [Saved(path), Saved(path)]
    assert tensor_files(path, WEIGHTS) == ["model-00001-of-00001.safetensors"]


def test_a_flipped_byte_of_any_part_is_noticed_and_passed_over(tmp_path: Path) -> None:
    saved_at(tmp_path)
    older, newer = tmp_path / "step-00000004", tmp_path / "step-00000005"
    shutil.copytree(older, newer)
    for name in tensor_files(newer, WEIGHTS):
        whole = (newer / name).read_bytes()
        (newer / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        told = (f"step-00000005 ({name} does not match its checksum)",)
        assert newest_weights([older, newer], average=None) == (older, told)
        assert [damage.file for damage in find_damage(newer)] == [name]
        (newer / name).write_bytes(whole)
    (newer / name).unlink()
    assert newest_weights([older, newer], average=None) == (older, (f"step-00000005 ({name} is missing)",))


def test_processes_verify_a_share_of_the_files_each_and_agree(tmp_path: Path) -> None:
    saved_at(tmp_path)
    path = tmp_path / "step-00000004"
    shutil.copytree(path, tmp_path / "step-00000005")
    state = tmp_path / "step-00000005" / "state.json"
    for name in ("model-00001-of-00002.safetensors", "ema-00002-of-00002.safetensors", "config.json"):
        changed = state.with_name(name)
        changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    shares = [{damage.file for damage in find_damage(state.parent, share=(number, 2))} for number in range(2)]
    assert len(shares[0] | shares[1]) == 3 and not shares[0] & shares[1] and all(shares)

    def newest(each: Processes) -> Any:
        return Checkpoints(tmp_path, "one").newest_valid(each)

    one, other = together(newest)
    assert one == other
    assert cast(Any, one).path == path
    assert cast(Any, one).passed_over[0].count("does not match its checksum") == 3


def test_parts_that_do_not_say_their_rows_are_refused(tmp_path: Path) -> None:
    with committing(tmp_path / "step") as uncommitted:
        for number in (1, 2):
            path = uncommitted.path / f"model-0000{number}-of-00002.safetensors"
            write_safetensors(path, WHOLE)
            uncommitted.entries[path.name] = entry_of(path)
    with pytest.raises(InputError, match=r"model-00001-of-00002.safetensors and its other parts cannot be read"):
        read_tensors(tmp_path / "step", WEIGHTS)


def test_torch_reads_the_parts(tmp_path: Path) -> None:
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    tensors = {name: WHOLE[name] for name in ("matrix", "half")}
    for index in range(2):
        rows = {name: ROWS[name][index] for name in tensors}
        write_tensors(tmp_path, WEIGHTS, part_of(tensors, index), part=Part(index, 2), first_rows=rows)
    found = {name: torch.zeros_like(value) for name, value in tensors.items()}
    load(found, storage_reader=HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
