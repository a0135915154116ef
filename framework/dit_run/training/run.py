"""A run: from a config to a finished run folder, continued where one is unfinished."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dit_run.assembly.layout import Layout
from dit_run.assembly.parts import Encoders, build_denoiser, build_scheduler
from dit_run.assembly.prepare import Data, prepare
from dit_run.cache.builder import Stopped
from dit_run.cache.open_cache import open_cache
from dit_run.compute.devices import emulates_bfloat16, keep_freed_memory, prepare_determinism
from dit_run.compute.distributed import Processes, join, translate_lost_process
from dit_run.compute.out_of_memory import translate_out_of_memory
from dit_run.compute.precision import Precision
from dit_run.config.dump import run_config
from dit_run.config.rules import check_rules
from dit_run.model.denoiser import Denoiser
from dit_run.problems import InputError
from dit_run.protocols import Facts
from dit_run.registry.factories import make
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import clean
from dit_run.runs.checkpoint.store import CheckpointContents, Checkpoints, load_checkpoint
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.durable import translate_disk_failure
from dit_run.system.signals import STATUS, StopRequest
from dit_run.training.compile import compile_blocks
from dit_run.training.gradients import distribute
from dit_run.training.loading import Feed
from dit_run.training.loop import Loop
from dit_run.training.meters import Meters
from dit_run.training.nonfinite import BadLoss, NonFiniteGuard
from dit_run.training.observer import Observer
from dit_run.training.resume_checks import (
    PLUGIN_FACTS,
    changed_inputs,
    inputs,
    machine,
    notices,
    refuse_changed_plugins,
)
from dit_run.training.run_record import Beginning, opening, plugin_record
from dit_run.training.saving import Saver
from dit_run.training.schedule import Schedule
from dit_run.training.scoring import preview_prompts
from dit_run.training.state import RunFacts, initialise, refuse_other_run, restore
from dit_run.training.step_builder import build_ema, build_step
from dit_run.training.step_timer import Clock, Untimed

__all__ = ["RunResult", "train"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run_dir: Path
    step: int
    total_steps: int
    """0 where it was stopped before that was known."""
    exit_status: int
    values: Mapping[str, float] = field(default_factory=dict)
    """The last value of everything that was logged."""
    picture: Path | None = None
    """The last grid."""
    already_finished: bool = False


def train(
    config: Config,
    registry: Registry,
    *,
    reporter: Reporter,
    arguments: Sequence[str] = (),
    fork_from: Path | None = None,
    profile: bool = False,
    allow_changed_plugins: bool = False,
) -> RunResult:
    """Train, or continue an unfinished run in ``training.output_dir``, to the end or until a signal asks to stop.

    ``fork_from`` is a checkpoint to begin with, its step and optimizer included, whatever config it was made with.
    ``profile`` logs where the time goes and writes a trace to the run folder's ``profile``.
    ``allow_changed_plugins`` continues although plugins changed since the checkpoint.
    Raises InputError for what the user can mend, before anything is written where that is knowable.
    """
    processes = join(config.training.device)
    folder = RunFolder(Path(config.training.output_dir))
    try:
        with (
            translate_plugin_fault(),
            translate_disk_failure(folder.path),
            StopRequest() as stop,
            _owned(folder, processes),
        ):
            run = _Run(config, registry, processes, folder, reporter, stop, arguments, fork_from, profile)
            try:
                return run.go(allow_changed_plugins=allow_changed_plugins)
            except Stopped as stopped:
                reporter.notice(f"{stopped}; the same command continues")
                return RunResult(folder.path, 0, 0, stop.status or STATUS[signal.SIGTERM])
    finally:
        processes.leave()


@contextlib.contextmanager
def _owned(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """The first process holds the lock; all learn whether it has it. A folder that got nothing else goes again."""
    made = not folder.path.exists()
    with contextlib.ExitStack() as stack:
        processes.on_first(lambda: stack.enter_context(folder.lock()))
        try:
            yield
        finally:
            if made and processes.first:
                with contextlib.suppress(OSError):
                    folder.remove_if_empty()


@dataclass
class _Run:
    config: Config
    registry: Registry
    processes: Processes
    folder: RunFolder
    reporter: Reporter
    stop: StopRequest
    arguments: Sequence[str]
    fork_from: Path | None
    profile: bool

    def go(self, *, allow_changed_plugins: bool) -> RunResult:
        self.run_id = self.processes.on_first(self.folder.run_id)
        self.checkpoints = Checkpoints(self.folder.path / "checkpoints", self.run_id)
        contents, where = self._found()
        if contents is not None and self.fork_from is None:
            known = check_rules(self.config, Facts(total_steps=contents.state["total_steps"]))
            refuse_other_run(known, contents.state, self.folder.path)
            step = contents.state["step"]
            if step == contents.state["total_steps"] and self._finished():
                return RunResult(self.folder.path, step, step, 0, already_finished=True)
            if not allow_changed_plugins:
                refuse_changed_plugins(contents.state["plugins"], self._plugins())
        layout, device = self._layout(contents), self.processes.device
        self._set_up_torch(contents)
        self.config, data, encoders = prepare(self.config, device=device, layout=layout)
        for notice in self.config.notices:
            self.reporter.notice(notice.message + "".join(f" ({line})" for line in notice.help))
        encoders = self._cached(data, encoders)
        given = inputs(data, encoders)
        self.begun = 0 if contents is None else contents.state["step"]
        loop, denoiser = self._loop(data, encoders, layout, given)
        if contents is not None and self.fork_from is None:
            for line in changed_inputs(contents.state.get("inputs", {}), given):
                self.reporter.notice(line)
        if contents is not None:
            restore(loop, contents, where=where)
            if self.fork_from is not None:
                self._begin_fork(loop, where)
        elif self.config.training.init_from is not None:
            initialise(loop, Path(self.config.training.init_from))
        del contents
        for line in opening(loop, data, encoders):
            self.reporter.notice(line)
        return self._train(loop, denoiser, data, encoders, layout)

    # -------------------------------------------------------------------------------------------------------- before

    def _found(self) -> tuple[CheckpointContents | None, Path]:
        """Where this run goes on: the newest whole checkpoint, a forked one, or nothing."""
        newest = self.processes.on_first(self._newest)
        path = Path(newest) if newest else self.fork_from
        return (load_checkpoint(path), path) if path is not None else (None, self.folder.path)

    def _newest(self) -> str:
        newest = self.checkpoints.newest_valid()
        for passed_over in newest.passed_over:
            self.reporter.notice(f"damaged checkpoint passed over: {passed_over}")
        return str(newest.path or "")

    def _finished(self) -> bool:
        """Whether its last steps were followed by all that comes after them."""
        status = self.processes.on_first(lambda: dict(self.folder.read_status() or {}))
        return status.get("state") == "finished"

    def _layout(self, contents: CheckpointContents | None) -> Layout:
        continued = contents is not None and self.fork_from is None
        global_batch = contents.state["global_batch"] if continued else None
        return Layout.of(self.config, self.processes, global_batch=global_batch)

    def _set_up_torch(self, contents: CheckpointContents | None) -> None:
        training = self.config.training
        threads = training.num_threads or (contents.state["machine"]["threads"] if contents is not None else None)
        if threads is None and training.elastic_exact:
            threads = 1  # torchrun's own choice for several processes
        if threads is not None:
            torch.set_num_threads(threads)
        device = self.processes.device
        if training.deterministic:
            prepare_determinism(device)
        torch.use_deterministic_algorithms(training.deterministic)
        keep_freed_memory(device)
        if training.mixed_precision == "bf16" and emulates_bfloat16(device):
            self.reporter.notice(
                "this GPU only emulates bfloat16, slowly; training.mixed_precision=fp16 is quicker here"
            )
        if contents is not None:
            for notice in notices(contents.state["machine"], machine(torch.get_num_threads(), device)):
                self.reporter.notice(notice)

    def _plugins(self) -> tuple[dict[str, Any], ...]:
        """Who makes what decides what is learnt; the rest only watches."""
        records = [
            plugin_record(self.registry, path, choice)
            for path, choice in self.config.choices()
            if not choice.component.kind.listed
        ]
        return tuple({name: record[name] for name in PLUGIN_FACTS} for record in records)

    def _begin_fork(self, loop: Loop, where: Path) -> None:
        loop.best = {}  # another config's losses say nothing of this one's
        if loop.done >= loop.total_steps:
            raise InputError(
                f"{where} is at step {loop.done}, and this config's run ends after {loop.total_steps}; raise "
                "training.max_steps or num_epochs, or begin at step 0 from its weights with training.init_from"
            )

    # ------------------------------------------------------------------------------------------------------- building

    def _cached(self, data: Data, encoders: Encoders) -> Encoders:
        """The encoders with what is kept of their output, which is made first where it is missing."""
        used = [data.train] if data.validation is None else [data.train, data.validation]
        prompts = preview_prompts(self.config, data)
        try:
            cached = open_cache(
                self.config,
                used,
                text=encoders.text,
                vae=encoders.vae,
                dtype=encoders.dtype,
                reporter=self.reporter,
                prompts=prompts,
                stopped=lambda: self.stop.signal is not None,
                first=self.registry.files,
            )
        finally:
            self.reporter.end()
        return replace(encoders, cached=cached)

    def _loop(self, data: Data, encoders: Encoders, layout: Layout, given: Mapping[str, Any]) -> tuple[Loop, Denoiser]:
        config, training = self.config, self.config.training
        denoiser = build_denoiser(config, encoders, self.processes.device)
        ema, scheduler = build_ema(config, denoiser), build_scheduler(config, encoders)
        if training.compile_model:
            compile_blocks(denoiser)
        forward, gradients = distribute(
            denoiser, self.processes, exact=training.elastic_exact, accumulation=layout.accumulation
        )
        clock, rates = self._clock(data.run_length.total_steps - self.begun), config.lr_scheduler
        step = build_step(
            config,
            denoiser,
            scheduler,
            self.processes.device,
            learning_rate_factor=make(rates.component, rates.options, total_steps=data.run_length.total_steps),
            forward=forward,
            gradients=gradients,
            clock=clock,
        )
        facts = RunFacts(
            layout.global_batch, data.run_length.total_steps, torch.get_num_threads(), self._plugins(), given
        )
        self.saver = Saver(config, facts, self.checkpoints, self.folder, self.processes, self.reporter)
        device = self.processes.device
        self.observer = Observer(
            config, data, encoders, denoiser, ema, scheduler, step.precision, device, self.folder, self.reporter
        )
        loop = Loop(
            step=step,
            denoiser=denoiser,
            ema=ema,
            layout=layout,
            schedule=Schedule(config, data.run_length),
            meters=Meters(self.processes.device),
            processes=self.processes,
            reporter=self.reporter,
            watch=self.observer,
            record=self.folder.record,
            save=self.saver.save,
            stopped=lambda: self.processes.any(self.stop.signal is not None),
            run_dir=self.folder.path,
            nonfinite=NonFiniteGuard(training.max_bad_steps, step.scaler.is_enabled(), self.reporter.notice),
            clock=clock,
        )
        return loop, denoiser

    def _clock(self, steps: int) -> Clock:
        if not (self.profile and self.processes.first):
            return Untimed()
        from dit_run.training.profile import Profile

        precision = Precision.of(self.config.training.mixed_precision, self.processes.device)
        dtype, folder = precision.dtype or torch.float32, self.folder.path / "profile"
        return Profile(self.processes.device, dtype, folder, steps=steps)

    # ------------------------------------------------------------------------------------------------------- training

    def _train(self, loop: Loop, denoiser: Denoiser, data: Data, encoders: Encoders, layout: Layout) -> RunResult:
        self.processes.on_first(lambda: self._begin(loop))
        denoiser.train()
        training = self.config.training
        feed = Feed(self.config, self.registry, self.processes, self.reporter, data, encoders)
        try:
            with (
                translate_plugin_fault(),
                translate_disk_failure(self.folder.path),
                translate_out_of_memory(training.batch_size, layout.accumulation),
                translate_lost_process(self.processes),
                contextlib.closing(feed.batches(loop)) as loaded,
            ):
                finished = loop.run(feed.examples(loop, loaded))
        except BaseException as error:
            with contextlib.suppress(OSError):
                if isinstance(error, BadLoss):
                    self.folder.write_report(f"bad-step-{self.processes.rank}.json", error.report)
                self._status("failed", loop.done, f"{type(error).__name__}: {error}")
            raise
        finally:
            self.observer.close()
            if profiled := loop.clock.close():
                self.reporter.notice(f"profile: {profiled}")
        reason = "" if finished else f"stopped by {self.stop.signal.name if self.stop.signal else 'another process'}"
        if self.processes.first:
            with contextlib.suppress(OSError):
                clean(self.checkpoints.folder)
        self._status("finished" if finished else "interrupted", loop.done, reason)
        if not finished:
            self.reporter.notice(f"stopped after step {loop.done} of {loop.total_steps}; the same command continues")
        with translate_lost_process(self.processes):
            self.processes.barrier()  # the first to leave has torchrun end the others, whatever they are writing
        status = 0 if finished else self.stop.status or STATUS[signal.SIGTERM]
        return RunResult(self.folder.path, loop.done, loop.total_steps, status, loop.latest, loop.picture)

    def _begin(self, loop: Loop) -> None:
        count = self.processes.count
        Beginning(
            self.config, self.registry, self.folder, self.checkpoints.folder, self.run_id, self.arguments, count
        ).write(loop.done)
        with translate_disk_failure(self.folder.path):
            self.saver.forecast(loop)
            for command in self.observer.open(loop.done, run_config(self.config)):
                self.reporter.notice(f"watch it with: {command}")
            if self.fork_from is not None:
                self.saver.save(loop)

    def _status(self, state: Any, step: int, reason: str) -> None:
        if self.processes.first:
            self.folder.write_status(state, step=step, reason=reason)
