"""Resuming: find the checkpoint that a run begins with, refuse one of another config, and restore the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dit_run.compute.distributed import Processes
from dit_run.compute.random_streams import STREAMS_VERSION
from dit_run.config.comparison import Changes, changes
from dit_run.config.renamed_keys import with_current_names
from dit_run.config.rule_checks import check_rules
from dit_run.data.sample_index import SampleIndex
from dit_run.options import options_of
from dit_run.problems import InputError
from dit_run.protocols import Facts
from dit_run.registry.kinds import Kind
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.checkpoint_files import StoredCheckpoint, load_checkpoint
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.settings import Config
from dit_run.training.resume_checks import changed_inputs, refuse_changed_inputs
from dit_run.training.resume_length import NewLength
from dit_run.training.resume_settings import LENGTH, VALIDATION, notes, refuse_changes, refuse_other_global_batch
from dit_run.training.state import TrainState

__all__ = ["Start", "find_start"]


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run begins with."""

    contents: StoredCheckpoint
    path: Path
    forked: bool
    """True for the checkpoint of another run, whose config may differ."""
    changes: Changes = field(default_factory=Changes)
    """Changes of the config since the checkpoint, none of them refused; none for a fork."""

    @property
    def state(self) -> Mapping[str, Any]:
        return self.contents.state

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def total_steps(self) -> int:
        """The length that the run had."""
        return int(self.state["total_steps"])

    @property
    def at_the_end(self) -> bool:
        """True if the config changed nothing about the length of the run, and all its steps are done."""
        return self.step == self.total_steps and len(self.changes.without(*LENGTH)) == len(self.changes.noted)

    @property
    def base(self) -> str:
        """Digest of the weights that the run's adapter changes; empty without one."""
        return str(self.state.get("inputs", {}).get("model", ""))

    @property
    def folder(self) -> Path:
        """The run folder of the checkpoint."""
        return self.path.parent.parent

    @property
    def origin(self) -> Mapping[str, Any]:
        """The names of run and step, for the record of a fork."""
        return {"run_id": self.state["run_id"], "step": self.step}

    @property
    def global_batch(self) -> int | None:
        """Global batch that the run has to keep; None for a fork."""
        return None if self.forked else int(self.state["global_batch"])

    @property
    def threads(self) -> int:
        """Threads of a process with which the run began."""
        return int(self.state["machine"]["threads"])

    def continued_by(self, config: Config, *, processes: int, arguments: Sequence[str]) -> Start:
        """Return this start with the changes of a config since the checkpoint.

        Raises InputError where the run would learn something else. ``arguments`` are those of the command.
        """
        by_content = {"data", *self.state.get("inputs", {})}
        before = with_current_names(self.contents.config, config)
        found = changes(before, self._with_former_length(config), by_content=by_content)
        refuse_changes(self.folder, found, arguments)
        refuse_other_global_batch(
            self.folder,
            before["training"],
            config.training,
            global_batch=int(self.state["global_batch"]),
            processes=processes,
        )
        if self.state["streams_version"] != STREAMS_VERSION:
            raise InputError(
                f"{self.folder} was begun with version {self.state['streams_version']} of the random streams; this "
                f"release has version {STREAMS_VERSION} and would show other samples. Start a new run from its weights "
                "with training.init_from"
            )
        return replace(self, changes=found)

    def changed_since(
        self,
        config: Config,
        given: Mapping[str, Any],
        indices: tuple[SampleIndex | None, SampleIndex],
        total_steps: int,
        arguments: Sequence[str],
    ) -> list[str]:
        """Return what a run that continues should say about its changed settings and length.

        ``given`` has the run's :func:`~dit_run.training.resume_checks.inputs`, ``indices`` those of its samples, before
        (None where it is lost) and now. Raises InputError for other data, encoders or learning rates than before.
        """
        lines = changed_inputs(self.state.get("inputs", {}), given, index_before=indices[0], index=indices[1])
        refuse_changed_inputs(lines, self.folder, arguments)
        objectives = any(each.type != Kind.OBJECTIVE.default_type for each in config.chosen("objective"))
        said = notes(
            self.changes,
            self.step,
            buckets=config.has_buckets,
            adapted=bool(self.base),
            objectives=objectives,
            exact=config.training.elastic_exact,
        )
        if total_steps == self.total_steps:
            return said
        former = self._with_former_length(config)
        length = NewLength(self.folder, self.step, self.total_steps, total_steps, former, config)
        return [length.note(arguments), *said]

    def refuse_other_features(self, given: Mapping[str, Any], index: SampleIndex, arguments: Sequence[str]) -> None:
        """Raise InputError for other frozen networks of objectives than before; ``given`` has their fingerprints."""
        before, now = self.state.get("inputs", {}), {name: given[name] for name in ("objective",) if name in given}
        refuse_changed_inputs(changed_inputs(before, now, index_before=None, index=index), self.folder, arguments)

    def _with_former_length(self, config: Config) -> Config:
        """Return the config with the defaults that the run's former length and its latents give."""
        channels = self.contents.config.get("model", {}).get("in_channels")
        return check_rules(config, Facts(total_steps=self.total_steps, latent_channels=channels))

    def restore(self, state: TrainState, config: Config, total_steps: int) -> None:
        """Load the checkpoint. Raises InputError where it does not fit, or a fork has no steps to do."""
        contents, own = self.contents, _optimizer_options(state, config) if self.forked else []
        tensors = {"model": contents.model, "averages": contents.averages, "optimizer": contents.optimizer}
        state.load_state_dict({**contents.state, **tensors}, where=str(self.path))
        for group, values in zip(state.optimizer.param_groups, own, strict=False):
            group.update(values)
        if self.forked or len(self.changes.without(*VALIDATION)) != len(self.changes.noted):
            state.best = {}  # losses of another config cannot be compared
        if self.forked and state.step >= total_steps:
            raise InputError(
                f"{self.path} is at step {state.step}, and this config's run ends after {total_steps}; raise "
                "training.max_steps or num_epochs, or begin at step 0 from its weights with training.init_from"
            )


def _optimizer_options(state: TrainState, config: Config) -> list[dict[str, Any]]:
    """Return what each parameter group has of the config's options, such as ``weight_decay``.

    The state of an optimizer holds them too; a fork follows its own config.
    """
    names = {option.name for option in options_of(config.optimizer.component.options)}
    return [{name: value for name, value in group.items() if name in names} for group in state.optimizer.param_groups]


def find_start(
    checkpoints: Checkpoints, fork_from: Path | None, processes: Processes, reporter: Reporter
) -> Start | None:
    """Return the newest whole checkpoint of the run, else the one to fork from; None for a new run."""
    newest = checkpoints.newest_valid(processes)
    for passed_over in newest.passed_over if processes.first else ():
        reporter.notice(f"damaged checkpoint passed over: {passed_over}")
    path = newest.path or fork_from
    forked = newest.path is None
    return None if path is None else Start(load_checkpoint(path, verified=not forked), path, forked=forked)
