"""A run: from a config to a finished run folder, continued where one is unfinished."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dit_run.assemble import (
    Data,
    Encoders,
    build_learner,
    build_optimizer,
    build_scheduler,
    prepare,
)
from dit_run.cache.build import Stopped
from dit_run.cache.open import open_cache
from dit_run.checkpoint.commit import SaveFailed, clean
from dit_run.checkpoint.forecast import room_notice
from dit_run.checkpoint.store import CheckpointContents, Checkpoints, load
from dit_run.checkpoint.tensors import tensor_bytes
from dit_run.config.dump import run_config
from dit_run.config.identity import absolute
from dit_run.config.keys import key_name
from dit_run.config.rules import check_rules
from dit_run.data.samples import BadSamples
from dit_run.devices import keep_freed_memory, pins_memory
from dit_run.durable import DiskFailed, answer_disk_failure, make_folder
from dit_run.factories import make
from dit_run.learner import Learner
from dit_run.precision import Precision
from dit_run.problems import DitRunError, InputError
from dit_run.processes import Processes, answer_lost_process, continued_accumulation, join
from dit_run.protocols import Facts
from dit_run.provenance import collect
from dit_run.registry import Registry
from dit_run.reporting import Reporter
from dit_run.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.signals import STATUS, StopRequest
from dit_run.training.batches import Batch, Layout, Visits, batches
from dit_run.training.changes import PLUGIN_FACTS, machine, notices, refuse_changed_plugins
from dit_run.training.compiling import compile_blocks
from dit_run.training.ema import Ema
from dit_run.training.examples import Encoder
from dit_run.training.faults import BadLoss, Faults
from dit_run.training.gradients import distribute
from dit_run.training.loop import Loop
from dit_run.training.memory import answer_out_of_memory
from dit_run.training.meters import Meters
from dit_run.training.phases import Clock, Untimed, timed
from dit_run.training.schedule import Schedule
from dit_run.training.state import RunFacts, capture, initialise, refuse_other_run, restore
from dit_run.training.step import Examples, TrainingStep
from dit_run.training.watch import Observer, preview_prompts

__all__ = ["Outcome", "train"]

_MOST_FAILED_SAVES = 3


@dataclass(frozen=True)
class Outcome:
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
) -> Outcome:
    """Train, or continue an unfinished run in ``training.output_dir``, to the end or until a signal asks to stop.

    ``fork_from`` is a checkpoint to begin with, its step and optimizer included, whatever config it was made with.
    ``profile`` logs where the time goes and writes a trace to the run folder's ``profile``.
    ``allow_changed_plugins`` continues although plugins changed since the checkpoint.
    Raises InputError for what the user can mend, before anything is written where that is knowable.
    """
    processes = join(config.training.device)
    folder = RunFolder(Path(config.training.output_dir))
    try:
        with answer_disk_failure(folder.path), StopRequest() as stop, _owned(folder, processes):
            run = _Run(config, registry, processes, folder, reporter, stop, arguments, fork_from, profile)
            try:
                return run.go(allow_changed_plugins=allow_changed_plugins)
            except Stopped as stopped:
                reporter.notice(str(stopped))
                return Outcome(folder.path, 0, 0, stop.status or STATUS[signal.SIGTERM])
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
    failed_saves: int = 0

    def go(self, *, allow_changed_plugins: bool) -> Outcome:
        self.run_id = self.processes.on_first(self.folder.run_id)
        self.checkpoints = Checkpoints(self.folder.path / "checkpoints", self.run_id)
        contents, where = self._found()
        if contents is not None and self.fork_from is None:
            known = check_rules(self.config, Facts(total_steps=contents.state["total_steps"]))
            refuse_other_run(known, contents.state, self.folder.path)
            step = contents.state["step"]
            if step == contents.state["total_steps"] and self._finished():
                return Outcome(self.folder.path, step, step, 0, already_finished=True)
            if not allow_changed_plugins:
                refuse_changed_plugins(contents.state["plugins"], self._plugins())
        layout, device = self._layout(contents), self.processes.device
        self._set_up_torch(contents)
        self.config, data, encoders = prepare(self.config, global_batch=layout.global_batch, device=device)
        for notice in self.config.notices:
            self.reporter.notice(notice.message + "".join(f" ({line})" for line in notice.help))
        encoders = self._cached(data, encoders)
        loop, learner = self._loop(data, encoders, layout)
        if contents is not None:
            restore(loop, contents, where=where)
            self._refuse_finished_fork(loop, where)
        elif self.config.training.init_from is not None:
            initialise(loop, Path(self.config.training.init_from))
        del contents
        return self._train(loop, learner, data, encoders, layout)

    # -------------------------------------------------------------------------------------------------------- before

    def _found(self) -> tuple[CheckpointContents | None, Path]:
        """Where this run goes on: the newest whole checkpoint, a forked one, or nothing."""
        newest = self.processes.on_first(self._newest)
        path = Path(newest) if newest else self.fork_from
        return (load(path), path) if path is not None else (None, self.folder.path)

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
        training, count = self.config.training, self.processes.count
        accumulation = training.gradient_accumulation_steps
        if contents is not None and self.fork_from is None:
            accumulation = continued_accumulation(contents.state["global_batch"], training.batch_size, count)
        return Layout(training.batch_size, accumulation, count, self.processes.rank)

    def _set_up_torch(self, contents: CheckpointContents | None) -> None:
        training = self.config.training
        threads = training.num_threads or (contents.state["machine"]["threads"] if contents is not None else None)
        if threads is not None:
            torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(training.deterministic)
        keep_freed_memory(self.processes.device)
        if contents is not None:
            for notice in notices(contents.state["machine"], machine(torch.get_num_threads())):
                self.reporter.notice(notice)

    def _plugins(self) -> tuple[dict[str, Any], ...]:
        """Who makes what decides what is learnt; the rest only watches."""
        records = [
            {"section": key_name(path), **self.registry.record(choice.component.kind, choice.type)}
            for path, choice in self.config.choices()
            if not choice.component.kind.listed
        ]
        return tuple({name: record[name] for name in PLUGIN_FACTS} for record in records)

    def _refuse_finished_fork(self, loop: Loop, where: Path) -> None:
        if self.fork_from is not None and loop.done >= loop.total_steps:
            raise InputError(
                f"{where} is at step {loop.done}, and this config's run ends after {loop.total_steps}; raise "
                "training.max_steps or num_epochs, or begin at step 0 from its weights with training.init_from"
            )

    # ------------------------------------------------------------------------------------------------------- building

    def _cached(self, data: Data, encoders: Encoders) -> Encoders:
        """The encoders with what is kept of their output, which is made first where it is missing."""
        used = [data.train] if data.validation is None else [data.train, data.validation]
        prompts = preview_prompts(self.config, data)
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
        return replace(encoders, cached=cached)

    def _loop(self, data: Data, encoders: Encoders, layout: Layout) -> tuple[Loop, Learner]:
        config, training = self.config, self.config.training
        learner = build_learner(config, encoders, self.processes.device)
        ema = Ema(learner, decay=training.ema_decay, power=training.ema_warmup) if training.use_ema else None
        optimizer = build_optimizer(config, learner, self.processes.device)
        scheduler = build_scheduler(config, encoders)
        precision = Precision.of(training.mixed_precision, self.processes.device)
        if training.compile_model:
            compile_blocks(learner)
        forward, gradients = distribute(
            learner, self.processes, exact=training.elastic_exact, accumulation=layout.accumulation
        )
        schedule = Schedule(config, data.plan)
        clock = self._clock(precision)
        step = TrainingStep(
            forward=forward,
            scheduler=scheduler,
            optimizer=optimizer,
            learning_rate_factor=make(
                config.lr_scheduler.component, config.lr_scheduler.options, total_steps=data.plan.total_steps
            ),
            precision=precision,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed,
            gradients=gradients,
            clock=clock,
        )
        self.facts = RunFacts(layout.global_batch, data.plan.total_steps, torch.get_num_threads(), self._plugins())
        device = self.processes.device
        self.observer = Observer(
            config, data, encoders, learner, ema, scheduler, precision, device, self.folder, self.reporter.notice
        )
        loop = Loop(
            step=step,
            learner=learner,
            ema=ema,
            layout=layout,
            schedule=schedule,
            meters=Meters(self.processes.device),
            processes=self.processes,
            reporter=self.reporter,
            watch=self.observer,
            record=self.folder.record,
            save=self._save,
            stopped=lambda: self.processes.any(self.stop.signal is not None),
            run_dir=self.folder.path,
            faults=Faults(training.max_bad_steps, step.scaler.is_enabled(), self.reporter.notice),
            clock=clock,
        )
        return loop, learner

    def _clock(self, precision: Precision) -> Clock:
        if not (self.profile and self.processes.first):
            return Untimed()
        from dit_run.training.profile import Profile

        return Profile(self.processes.device, precision.dtype or torch.float32, self.folder.path / "profile")

    # ------------------------------------------------------------------------------------------------------- training

    def _train(self, loop: Loop, learner: Learner, data: Data, encoders: Encoders, layout: Layout) -> Outcome:
        self.processes.on_first(lambda: self._begin_folder(loop))
        learner.train()
        training = self.config.training
        try:
            with (
                answer_out_of_memory(training.batch_size, layout.accumulation),
                answer_lost_process(self.processes),
                contextlib.closing(self._batches(loop, data, encoders, layout)) as loaded,
            ):
                finished = loop.run(self._examples(loop, data, encoders, loaded))
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
        status = 0 if finished else self.stop.status or STATUS[signal.SIGTERM]
        return Outcome(self.folder.path, loop.done, loop.total_steps, status, loop.latest, loop.picture)

    def _begin_folder(self, loop: Loop) -> None:
        with answer_disk_failure(self.folder.path):
            self._write_beginning(loop)

    def _write_beginning(self, loop: Loop) -> None:
        make_folder(self.checkpoints.folder)
        clean(self.checkpoints.folder)
        copies = [self.folder.keep_plugin(Path(path))[0] for path in self.config.plugins]
        plugins = [f"./{copy.relative_to(self.folder.path)}" for copy in copies]
        self.folder.write_config(run_config(self.config, plugins=plugins))
        used = [
            {"section": key_name(path), **self.registry.record(choice.component.kind, choice.type)}
            for path, choice in self.config.choices()
        ]
        threads, count = torch.get_num_threads(), self.processes.count
        found = collect(self.arguments, used, threads=threads, processes=count)
        self.folder.write_provenance(found, run_id=self.run_id)
        self.folder.rewind_metrics(loop.done)
        self.folder.write_status("running", step=loop.done)
        self._forecast(loop)
        for command in self.observer.open(loop.done, run_config(self.config)):
            self.reporter.notice(f"watch it with: {command}")
        if self.fork_from is not None:
            self._save(loop)

    def _forecast(self, loop: Loop) -> None:
        """Warns of a disk that the checkpoints to come will fill."""
        weights = tensor_bytes(loop.learner.tensors())
        one = weights * (4 if loop.ema is not None else 3)  # an optimizer usually keeps two numbers for each weight
        limit, rest = self.config.training.save_total_limit, range(loop.done + 1, loop.total_steps + 1)
        saves = sum(map(loop.schedule.saves, rest)) if limit is None else limit + 1
        notice = room_notice(self.checkpoints.folder, one, limit=limit, saves=saves)
        if notice is not None:
            self.reporter.notice(notice)

    def _batches(self, loop: Loop, data: Data, encoders: Encoders, layout: Layout) -> Generator[Batch, None, None]:
        """All that is left of the run. Closed, it leaves no process."""
        training, size = self.config.training, self.config.data.common.image_size
        shape, kept = encoders.latent_shape(size, size), encoders.cached.latents
        visits = Visits(data.train, training.seed, shape, training.caption_dropout, kept)
        workers = self._workers()
        return batches(
            visits,
            layout,
            loop.done,
            loop.total_steps,
            workers=workers,
            prefetch=training.prefetch_factor,
            pin=pins_memory(self.processes.device),
            plugins=self.registry.files,
        )

    def _examples(self, loop: Loop, data: Data, encoders: Encoders, loaded: Iterator[Batch]) -> Iterator[Examples]:
        encode = Encoder(encoders, self.processes.device, loop.clock)
        return map(encode, self._reported(timed(loaded, loop.clock, "data"), BadSamples(len(data.train))))

    def _reported(self, loaded: Iterator[Batch], seen: BadSamples) -> Iterator[Batch]:
        """The batches as they are; samples that could not be read are named once."""
        for batch in loaded:
            for bad in seen.add(batch.bad) if batch.bad else ():
                self.reporter.notice(f"sample {bad.key} is skipped: {bad.reason}")
            yield batch

    def _workers(self) -> int:
        wanted, cores = self.config.training.num_workers, len(os.sched_getaffinity(0))
        if wanted > cores:
            self.reporter.notice(f"training.num_workers is {wanted} and this machine has {cores} cores: using {cores}")
        return min(wanted, cores)

    # --------------------------------------------------------------------------------------------------------- saving

    def _save(self, loop: Loop) -> Path | None:
        if not self.processes.first:
            return None
        contents = capture(loop, self.config, self.facts, absolute(self.config).to_dict())
        try:
            with answer_disk_failure(self.folder.metrics):
                self.folder.sync_metrics()
            limit = self.config.training.save_total_limit
            saved = self.checkpoints.save(loop.done, contents, limit=limit, best_step=loop.best.get("step"))
        except (DiskFailed, SaveFailed) as error:
            self._give_up_after_too_many(error, loop)
            return None
        self.failed_saves = 0
        for notice in saved.notices:
            self.reporter.notice(notice)
        return saved.path

    def _give_up_after_too_many(self, error: DitRunError, loop: Loop) -> None:
        self.failed_saves += 1
        if self.failed_saves >= _MOST_FAILED_SAVES or loop.done == loop.total_steps or self.stop.signal:
            raise error
        self.reporter.notice(f"{error}; training goes on, earlier checkpoints are untouched")

    def _status(self, state: Any, step: int, reason: str) -> None:
        if self.processes.first:
            self.folder.write_status(state, step=step, reason=reason)
