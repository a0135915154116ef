"""Resuming: find the checkpoint that a run begins with, refuse one of another config, and restore the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.compute.distributed import Processes
from dit_run.compute.random_streams import STREAMS_VERSION
from dit_run.config.comparison import differences, identity
from dit_run.config.rules import check_rules
from dit_run.problems import InputError
from dit_run.protocols import Facts
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.store import CheckpointContents, Checkpoints, load_checkpoint, load_weights
from dit_run.settings import Config
from dit_run.training.state import TrainState

__all__ = ["Start", "find_start", "initialise"]


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run begins with."""

    contents: CheckpointContents
    path: Path
    forked: bool
    """True for the checkpoint of another run, whose config may differ."""

    @property
    def state(self) -> Mapping[str, Any]:
        return self.contents.state

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def at_the_end(self) -> bool:
        return self.step == int(self.state["total_steps"])

    @property
    def global_batch(self) -> int | None:
        """Global batch that the run has to keep; None for a fork."""
        return None if self.forked else int(self.state["global_batch"])

    @property
    def threads(self) -> int:
        """Threads of a process with which the run began."""
        return int(self.state["machine"]["threads"])

    def refuse_other_config(self, config: Config) -> None:
        """Raise InputError where the run would continue with a config that trains other weights."""
        known = check_rules(config, Facts(total_steps=self.state["total_steps"]))
        folder, changed = self.path.parent.parent, differences(self.state["identity"], identity(known))
        if changed:
            lines = "".join(
                f"\n  {'.'.join(map(str, change.path))}: {change.before!r} -> {change.after!r}" for change in changed
            )
            raise InputError(
                f"{folder} holds a run with another config:{lines}\n"
                "Continue it with the old values, start another run with --fresh DIR, or continue from its checkpoint "
                "with the new values in another folder with --fork DIR"
            )
        if self.state["streams_version"] != STREAMS_VERSION:
            raise InputError(
                f"{folder} was begun with version {self.state['streams_version']} of the random streams; this release "
                f"has version {STREAMS_VERSION} and would show other samples. Start a new run from its weights with "
                "training.init_from"
            )

    def restore(self, state: TrainState, total_steps: int) -> None:
        """Load the checkpoint. Raises InputError where it does not fit, or a fork has no steps to do."""
        contents = self.contents
        tensors = {"model": contents.model, "ema": contents.ema, "optimizer": contents.optimizer}
        state.load_state_dict({**contents.state, **tensors}, where=str(self.path))
        if self.forked:
            state.best = {}  # losses of another config cannot be compared
            if state.step >= total_steps:
                raise InputError(
                    f"{self.path} is at step {state.step}, and this config's run ends after {total_steps}; raise "
                    "training.max_steps or num_epochs, or begin at step 0 from its weights with training.init_from"
                )


def find_start(
    checkpoints: Checkpoints, fork_from: Path | None, processes: Processes, reporter: Reporter
) -> Start | None:
    """Return the newest whole checkpoint of the run, else the one to fork from; None for a new run."""

    def newest_path() -> str:
        newest = checkpoints.newest_valid()
        for passed_over in newest.passed_over:
            reporter.notice(f"damaged checkpoint passed over: {passed_over}")
        return str(newest.path or "")

    newest = processes.on_first(newest_path)
    path = Path(newest) if newest else fork_from
    return None if path is None else Start(load_checkpoint(path), path, forked=fork_from is not None)


def initialise(state: TrainState, source: Path) -> None:
    """Begin with the weights of another run or checkpoint (``training.init_from``), or their averages if it has any."""
    folder = _checkpoint_in(source)
    weights = load_weights(folder, ema=True)
    state.load_weights(weights, weights, where=str(folder))


def _checkpoint_in(source: Path) -> Path:
    if (source / "MANIFEST.json").exists():
        return source
    found = sorted((source / "checkpoints").glob("step-*"))
    if not found:
        raise InputError(f"training.init_from is {source}, which is neither a checkpoint nor a run folder with one")
    return found[-1]
