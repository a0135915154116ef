"""The state of a run at a step: what a checkpoint holds, and how a run goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dit_run.compute.random_streams import STREAMS_VERSION
from dit_run.config.comparison import differences, identity
from dit_run.problems import InputError
from dit_run.runs.checkpoint.store import CheckpointContents, load_weights
from dit_run.settings import Config
from dit_run.training.loop import Loop
from dit_run.training.resume_checks import machine

__all__ = ["RunFacts", "capture", "initialise", "refuse_other_run", "restore"]


@dataclass(frozen=True)
class RunFacts:
    """What stays fixed for the whole of a run, whatever processes it continues in."""

    global_batch: int
    total_steps: int
    threads: int
    plugins: tuple[Mapping[str, Any], ...]
    """Who makes each component that decides what is learnt: see :data:`dit_run.training.resume_checks.PLUGIN_FACTS`."""
    inputs: Mapping[str, Any]
    """What it learns from: see :mod:`dit_run.training.resume_checks`."""


def capture(loop: Loop, config: Config, facts: RunFacts, values: dict[str, Any]) -> CheckpointContents:
    """Everything that the next step depends on; ``values`` is the resolved config as it is written."""
    return CheckpointContents(
        model=loop.denoiser.tensors(),
        ema=None if loop.ema is None else loop.ema.module.tensors(),
        optimizer=loop.step.optimizer.state_dict(),
        config=values,
        state={
            "global_batch": facts.global_batch,
            "total_steps": facts.total_steps,
            "plugins": [dict(plugin) for plugin in facts.plugins],
            "inputs": dict(facts.inputs),
            "machine": machine(facts.threads, loop.meters.device),
            "processes": loop.layout.processes,
            "batch_size": loop.layout.batch_size,
            "streams_version": STREAMS_VERSION,
            "meters": loop.meters.state(),
            "best": loop.best,
            "bad_steps": loop.nonfinite.in_a_row,
            "prompts": list(loop.watch.prompts),
            "scaler": loop.step.scaler.state_dict(),
            "identity": identity(config),
        },
    )


def restore(loop: Loop, contents: CheckpointContents, *, where: Path) -> None:
    """Put a loop where the checkpoint was taken. Raises InputError when its weights are of another shape."""
    loop.denoiser.load_tensors(contents.model, where=str(where))
    if loop.ema is not None:
        if contents.ema is None:
            raise InputError(f"{where} has no ema.safetensors, and training.use_ema is true")
        loop.ema.module.load_tensors(contents.ema, where=str(where))
    _load_optimizer(loop.step.optimizer, contents.optimizer, where)
    if loop.step.scaler.is_enabled():
        loop.step.scaler.load_state_dict(contents.state["scaler"])
    loop.meters.load(contents.state["meters"])
    loop.best = dict(contents.state["best"])
    loop.nonfinite.in_a_row = contents.state["bad_steps"]
    loop.done = contents.state["step"]


def _load_optimizer(optimizer: torch.optim.Optimizer, state: Any, where: Path) -> None:
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise InputError(f"the optimizer state in {where} does not fit this config's optimizer: {error}") from error


def initialise(loop: Loop, source: Path) -> None:
    """Begin with the weights of another run or checkpoint (``training.init_from``), averages where it has them."""
    folder = _checkpoint_in(source)
    weights = load_weights(folder, ema=True)
    loop.denoiser.load_tensors(weights, where=str(folder))
    if loop.ema is not None:
        loop.ema.module.load_tensors(weights, where=str(folder))


def _checkpoint_in(source: Path) -> Path:
    if (source / "MANIFEST.json").exists():
        return source
    found = sorted((source / "checkpoints").glob("step-*"))
    if not found:
        raise InputError(f"training.init_from is {source}, which is neither a checkpoint nor a run folder with one")
    return found[-1]


def refuse_other_run(config: Config, state: Mapping[str, Any], folder: Path) -> None:
    """Raises InputError when a run would continue with a config that learns something else."""
    changed = differences(state["identity"], identity(config))
    if changed:
        lines = "".join(
            f"\n  {'.'.join(map(str, change.path))}: {change.before!r} -> {change.after!r}" for change in changed
        )
        raise InputError(
            f"{folder} holds a run with another config:{lines}\n"
            "Continue it with the old values, start another run with --fresh DIR, or go on from its checkpoint under "
            "the new ones with --fork DIR"
        )
    if state["streams_version"] != STREAMS_VERSION:
        raise InputError(
            f"{folder} was begun with version {state['streams_version']} of the random streams; this release has "
            f"version {STREAMS_VERSION} and would show other samples. Start a new run from its weights with "
            "training.init_from"
        )
