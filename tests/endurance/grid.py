"""Continuation byte for byte: every stopping step, worker count and accumulation; processes; elastic chains."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dit_run.compute.split_tensor import StoredTensor, join
from dit_run.runs.checkpoint.checkpoint_files import CheckpointContents, load_checkpoint
from dit_run.runs.checkpoint.store import Checkpoints

from .forge import ONE_THREAD
from .parts import Case, Workshop
from .scenario import WORKERS, differences, metrics, newest, overrides, stopped_after

__all__ = [
    "corrupted_items",
    "elastic_chain",
    "other_processes",
    "processes",
    "sharded",
    "sharded_elastic_chains",
    "stops",
]

STEPS = {"max_steps": 13, "save_steps": 5}


def stops(workshop: Workshop, steps: range = range(1, 13), workers: tuple[int, ...] = WORKERS) -> Iterator[Case]:
    """Stopped after each step and continued, in one process; compared with the uninterrupted run without workers."""
    for accumulation in (1, 2, 4):
        for count in workers:
            for step in steps:
                name = f"accumulation {accumulation}, {count} workers, stopped after {step}"
                yield name, partial(_stopped, workshop, step, accumulation, count)


def _stopped(workshop: Workshop, step: int, accumulation: int, workers: int) -> list[str]:
    values = {**STEPS, "gradient_accumulation_steps": accumulation}
    reference = workshop.folder / f"accumulation-{accumulation}"
    if not (reference / "status.json").exists():
        _here(workshop, reference, 0, {**values, "num_workers": 0})
    path = workshop.fresh("stopped")
    status = _here(workshop, path, step, {**values, "num_workers": workers})
    if status != 143:
        return [f"status {status} instead of 143"]
    _here(workshop, path, 0, {**values, "num_workers": workers})
    return differences(reference, path)


def _words(workshop: Workshop, path: Path, stop: int, values: Mapping[str, Any]) -> list[str]:
    return [str(workshop.config_file), *overrides(path, **values), *stopped_after(stop)]


def _here(workshop: Workshop, path: Path, stop: int, values: Mapping[str, Any], more: Sequence[str] = ()) -> int:
    """The command line in this process."""
    from dit_run.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        return main([*_words(workshop, path, stop, values), *more])


PAIRWISE = ((1, 0, 1, 3), (1, 1, 2, 8), (1, 0, 4, 8), (2, 1, 1, 8), (2, 0, 2, 3), (2, 1, 4, 3), (4, 0, 1, 3))
"""Processes, workers, accumulation and stopping step: every two values stand together, and once four processes."""


def processes(workshop: Workshop) -> Iterator[Case]:
    """Stopped and continued under torchrun."""
    for count, workers, accumulation, stop in PAIRWISE:
        name = f"{count} processes, {workers} workers, accumulation {accumulation}, stopped after {stop}"
        yield name, partial(_launched, workshop, count, workers, accumulation, stop)


SHARDED = (
    (2, 2, 1, 3, "adamw"),
    (2, "node", 3, 8, "muon"),
    (4, 4, 1, 8, "muon"),
    (4, 2, 3, 3, "adamw"),
    (3, 3, 1, 5, "adamw"),
)
"""Processes, shards, accumulation, stopping step and optimizer."""


def sharded(workshop: Workshop) -> Iterator[Case]:
    """Stopped and continued under torchrun with shared weights."""
    for count, shards, accumulation, stop, optimizer in SHARDED:
        name = f"{count} processes, {shards} shards, accumulation {accumulation}, {optimizer}, stopped after {stop}"
        more = (f"training.shard={shards}", f"optimizer.type={optimizer}")
        yield name, partial(_launched, workshop, count, 0, accumulation, stop, more)


def _launched(
    workshop: Workshop, count: int, workers: int, accumulation: int, stop: int, more: Sequence[str] = ()
) -> list[str]:
    values = {**STEPS, "gradient_accumulation_steps": accumulation, "num_workers": workers}
    reference, path = workshop.fresh("launched-reference"), workshop.fresh("launched")
    faults = _launch(workshop, reference, 0, values, count, more)
    faults += _launch(workshop, path, stop, values, count, more)
    faults += _launch(workshop, path, 0, values, count, more)
    return faults or differences(reference, path)


TOLERANCE = 1e-5
"""Relative difference of a logged loss when a run continues on another number of processes without elastic_exact."""


def other_processes(workshop: Workshop) -> Iterator[Case]:
    """Continued by two processes and one again: the same samples and noise, and the same losses but for rounding."""
    yield "1 to 2 to 1", partial(_other_processes, workshop)
    yield "1 to 3, which does not fit", partial(_unfitting, workshop)


def _other_processes(workshop: Workshop) -> list[str]:
    values = {**STEPS, "gradient_accumulation_steps": 4}
    reference, path = workshop.fresh("one"), workshop.fresh("several")
    faults = _by(1, workshop, reference, 0, values)
    for stop, count in ((4, 1), (8, 2), (0, 1)):
        faults += _by(count, workshop, path, stop, values)
    if faults:
        return faults
    losses = [[float(line["loss"]) for line in metrics(run)] for run in (reference, path)]
    worst = max(abs(one - other) / one for one, other in zip(*losses, strict=True))
    return [f"losses differ by {worst:.1e}"] if worst > TOLERANCE else []


def _unfitting(workshop: Workshop) -> list[str]:
    values = {**STEPS, "gradient_accumulation_steps": 4}
    path = workshop.fresh("unfitting")
    faults = _by(1, workshop, path, 4, values)
    refused = _launch(workshop, path, 0, values, 3)
    told = "cannot share it evenly. Numbers of processes that fit: 1, 2, 4"
    return faults + ([] if refused and told in " ".join(refused[0].split()) else [f"not refused: {refused}"])


def elastic_chain(workshop: Workshop, chain: tuple[int, ...] = (1, 4, 2, 1)) -> Iterator[Case]:
    """Continued with other numbers of processes under ``elastic_exact``: the bytes of the uninterrupted run."""
    yield " to ".join(map(str, chain)), partial(_elastic, workshop, [(count, 1) for count in chain])


SHARDED_CHAINS = (
    (4, ((1, 1), (4, 4), (2, 2), (1, 1))),
    (4, ((4, 2), (4, 4), (2, 1), (1, 1))),
    (8, ((2, 2), (4, 2), (4, 1), (1, 1))),
)
"""Micro-batches of a step, and the processes and shards that continue one another; the last one writes whole files."""


def sharded_elastic_chains(workshop: Workshop) -> Iterator[Case]:
    """Continued with other numbers of processes and shards under ``elastic_exact``: the bytes of one process."""
    for optimizer in ("adamw", "muon"):
        for micro_batches, chain in SHARDED_CHAINS:
            links = " to ".join(f"{count} by {shards}" for count, shards in chain)
            more = (f"optimizer.type={optimizer}", "training.device=cpu", "averages=[{type: power, length: 0.2}]")
            name = f"{optimizer}, {micro_batches} micro-batches, {links}"
            yield name, partial(_elastic, workshop, chain, micro_batches, more)


def _elastic(
    workshop: Workshop, chain: Sequence[tuple[int, int]], micro_batches: int = 4, more: Sequence[str] = ()
) -> list[str]:
    values = {**STEPS, "elastic_exact": True}
    reference, path = workshop.fresh("elastic-reference"), workshop.fresh("elastic")
    faults = _by(1, workshop, reference, 0, {**values, "gradient_accumulation_steps": micro_batches}, more)
    for index, (count, shards) in enumerate(chain):
        stop = 0 if index == len(chain) - 1 else 3 * (index + 1)
        accumulation = {"gradient_accumulation_steps": micro_batches // chain[0][0]}
        faults += _by(count, workshop, path, stop, {**values, **accumulation, "shard": shards}, more)
    return faults or differences(reference, path)


def _by(
    count: int, workshop: Workshop, path: Path, stop: int, values: Mapping[str, Any], more: Sequence[str] = ()
) -> list[str]:
    """Under torchrun, or in this process where it is to be one."""
    if count > 1:
        return _launch(workshop, path, stop, values, count, more)
    status = _here(workshop, path, stop, values, more)
    return [] if status == (143 if stop else 0) else [f"status {status}"]


def _launch(
    workshop: Workshop, path: Path, stop: int, values: Mapping[str, Any], count: int, more: Sequence[str] = ()
) -> list[str]:
    """Under torchrun; what went wrong, a stop of which torchrun makes a failure set aside."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*launcher, "-m", "dit_run", *_words(workshop, path, stop, values), *more],
        capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, cwd=workshop.folder, check=False,
        timeout=1800,
    )  # fmt: skip
    if stop and f"stopped after step {stop} of" in done.stdout:
        return []
    return (
        []
        if done.returncode == 0 and not stop
        else [f"status {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"]
    )


def corrupted_items(workshop: Workshop) -> Iterator[Case]:
    """Negative control: each saved item changed in turn must show in the comparison."""
    for name, change in _CHANGES.items():
        yield name, partial(_shows, workshop, change)


def _shows(workshop: Workshop, change: Callable[[CheckpointContents], CheckpointContents]) -> list[str]:
    values = {**STEPS, "gradient_accumulation_steps": 2, "logging_steps": 4}
    reference = workshop.folder / "control"
    if not (reference / "status.json").exists():
        _here(workshop, reference, 0, values)
    path = workshop.fresh("corrupted")
    _here(workshop, path, 7, values)
    checkpoint = newest(path)
    contents = _contents(checkpoint)
    for file in checkpoint.iterdir():
        file.unlink()
    store = Checkpoints(checkpoint.parent, contents.state["run_id"])
    store.save(contents.state["step"], change(contents), limit=None)
    _here(workshop, path, 0, values)
    return [] if differences(reference, path) else ["the change does not show"]


def _contents(checkpoint: Path) -> CheckpointContents:
    """What a run that is not sharded saved, to be saved again."""
    stored = load_checkpoint(checkpoint)
    return CheckpointContents(
        model=_joined(stored.model),
        optimizer=stored.optimizer,
        state=stored.state,
        config=stored.config,
        averages={name: _joined(each) for name, each in stored.averages.items()},
    )


def _joined(tensors: Mapping[str, StoredTensor]) -> dict[str, torch.Tensor]:
    return {name: join(tensor) for name, tensor in tensors.items()}


def _nudged(tensors: Mapping[str, torch.Tensor], by: float) -> dict[str, torch.Tensor]:
    """The first float tensor with its first number a little higher."""
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim)
    changed = tensors[name].clone()
    changed.view(-1)[0] += by
    return {**tensors, name: changed}


def _nudged_moment(contents: CheckpointContents, moment: str) -> CheckpointContents:
    state = {key: dict(value) for key, value in contents.optimizer["state"].items()}
    first = next(iter(state.values()))
    first[moment] = first[moment] + 1e-3
    return replace(contents, optimizer={**contents.optimizer, "state": state})


def _with_state(contents: CheckpointContents, **values: Any) -> CheckpointContents:
    return replace(contents, state={**contents.state, **values})


_CHANGES: Mapping[str, Callable[[CheckpointContents], CheckpointContents]] = {
    "a weight": lambda contents: replace(contents, model=_nudged(contents.model, 1e-6)),
    "an average": lambda contents: replace(
        contents, averages={name: _nudged(each, 1e-3) for name, each in contents.averages.items()}
    ),
    "first moment": lambda contents: _nudged_moment(contents, "exp_avg"),
    "second moment": lambda contents: _nudged_moment(contents, "exp_avg_sq"),
    "optimizer's step": lambda contents: _nudged_moment(contents, "step"),
    "meters": lambda contents: _with_state(contents, meters={"sums": [1.0, 1.0, 1.0]}),
    "best": lambda contents: _with_state(contents, best={"loss": 0.0, "step": 2}),
}
