"""A run: from a config to a finished run folder; an unfinished run is continued."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dit_run.assembly.layout import Layout
from dit_run.assembly.prepare import prepare
from dit_run.cache.builder import CACHE_PATIENCE, Stopped
from dit_run.cache.open_cache import open_cache
from dit_run.compute.devices import emulates_bfloat16
from dit_run.compute.distributed import Processes, join_processes, translate_lost_process
from dit_run.compute.out_of_memory import translate_out_of_memory
from dit_run.config.dump import run_config
from dit_run.config.machine_rules import check_machine
from dit_run.data.sample_index import SampleIndex
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.commit import clean
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.durable import translate_disk_failure
from dit_run.system.signals import Interrupted, StopRequest
from dit_run.training.batch_loading import BatchLoader
from dit_run.training.compile import translate_compilation
from dit_run.training.loop import Loop
from dit_run.training.loop_builder import build_loop, profile_timer
from dit_run.training.nonfinite import NonFiniteLoss
from dit_run.training.resume import Start, find_start, initialise
from dit_run.training.resume_checks import changed_machine, inputs, machine, refuse_changed_plugins
from dit_run.training.resume_settings import refuse_changes_of_finished
from dit_run.training.run_context import RunContext
from dit_run.training.run_parts import RunParts
from dit_run.training.scoring import preview_prompts
from dit_run.training.setup import StopSwitch, process_setup
from dit_run.training.start_notices import start_notices
from dit_run.training.watch_record import Failure, WatchRecord

__all__ = ["RunResult", "train"]


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    path: Path
    """The run folder."""
    step: int
    """Optimizer steps done."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Last value of everything that was logged."""
    image: Path | None = None
    """The last grid of samples."""
    total_steps: int = 0
    """0 for a run that was stopped before its length was known."""
    exit_status: int = 0
    """Exit status of the command; 0 for a run that reached its end."""
    stopped: bool = False
    """True for a run that was stopped before its end."""
    already_finished: bool = False
    failures: tuple[str, ...] = ()
    """What failed of the work that only watches the run: validation, samples, metrics, callbacks and trackers."""


def train(
    config: Config,
    registry: Registry,
    *,
    reporter: Reporter,
    arguments: Sequence[str] = (),
    fork_from: Path | None = None,
    profile: bool = False,
    allow_changed_plugins: bool = False,
    stop: Callable[[], bool] | None = None,
) -> RunResult:
    """Train, or continue an unfinished run in ``training.output_dir``, to the end or until a stop is requested.

    ``fork_from`` is a checkpoint to begin with, its step and optimizer included, whatever its config.
    ``profile`` logs the time of each phase and writes a trace to the run folder's ``profile``.
    ``allow_changed_plugins`` continues although plugins changed since the checkpoint.
    ``stop`` is asked once a step, while the cache is filled, and before each call of the model in validation and
    sampling; True stops the run, as SIGTERM does, after saving.
    Works in any thread; outside the main thread, signals do not stop the run. All process settings are restored.
    Raises InputError for a mistake of the user, before anything is written if it can be known then.
    """
    check_machine(config)
    processes = join_processes(config.training.device)
    folder = RunFolder(Path(config.training.output_dir))
    try:
        with (
            translate_plugin_fault(),
            translate_disk_failure(folder.path),
            StopRequest() as signals,
            _owned(folder, processes),
        ):
            run = RunContext(
                config=config,
                registry=registry,
                processes=processes,
                folder=folder,
                checkpoints=Checkpoints(folder.checkpoints, processes.on_first(folder.run_id)),
                reporter=reporter,
                stop=StopSwitch(signals, stop, config.training.max_hours),
                arguments=arguments,
            )
            return _execute(run, fork_from, profile=profile, allow_changed_plugins=allow_changed_plugins)
    finally:
        processes.leave()


@contextlib.contextmanager
def _owned(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Hold the folder's lock in the first process; a new folder that nothing was written to is removed again."""
    new = not folder.path.exists()
    with contextlib.ExitStack() as stack:
        processes.on_first(lambda: stack.enter_context(folder.lock()))
        try:
            yield
        finally:
            if new and processes.first:
                with contextlib.suppress(OSError):
                    folder.remove_if_empty()


def _execute(run: RunContext, fork_from: Path | None, *, profile: bool, allow_changed_plugins: bool) -> RunResult:
    start = find_start(run.checkpoints, fork_from, run.processes, run.reporter)
    if start is not None and not start.forked:
        start = start.continued_by(run.config, processes=run.processes.count, arguments=run.arguments)
        if start.at_the_end and _is_finished(run):
            refuse_changes_of_finished(run.folder.path, start.changes, run.arguments)
            return _already_finished(run, start.step)
        if not allow_changed_plugins:
            refuse_changed_plugins(start.state["plugins"], run.deciding_plugins())
    layout = Layout.of(run.config, run.processes, global_batch=start.global_batch if start is not None else None)
    with process_setup(run.config.training, run.device, threads=start.threads if start is not None else None):
        _report_machine(run, start)
        try:
            run, parts, index = _prepare(run, layout, start)
        except (Stopped, Interrupted) as stopped:
            run.reporter.notice(f"{str(stopped) or 'stopped before the first step'}; the same command continues")
            return RunResult(run.folder.path, 0, exit_status=run.stop.exit_status, stopped=True)
        loop = _start_loop(run, parts, layout, start, index, profile=profile)
        origin = start.origin if start is not None and start.forked else None
        del start  # Its tensors would take memory as long as the run.
        run.processes.on_first(lambda: _begin(run, loop, index, origin))
        return _train(run, parts, loop)


def _is_finished(run: RunContext) -> bool:
    """Return True if the last steps of the run were followed by all work that comes after them."""
    status = run.processes.on_first(lambda: dict(run.folder.read_status() or {}))
    return status.get("state") == "finished"


def _already_finished(run: RunContext, step: int) -> RunResult:
    failures = run.processes.on_first(lambda: WatchRecord.of(run.folder.read_status(), step).failures)
    return RunResult(
        run.folder.path,
        step,
        total_steps=step,
        exit_status=_status_of_end(run, failures),
        already_finished=True,
        failures=tuple(map(str, failures)),
    )


def _status_of_end(run: RunContext, failures: Sequence[Failure]) -> int:
    """Return the exit status of a run that reached its end."""
    return 1 if failures and run.config.training.on_watch_error == "fail" else 0


def _report_machine(run: RunContext, start: Start | None) -> None:
    if run.config.training.mixed_precision == "bf16" and emulates_bfloat16(run.device):
        name, faster = ("GPU", "fp16") if run.device.type == "cuda" else ("processor", "no")
        run.reporter.notice(f"this {name} only emulates bfloat16, slowly; training.mixed_precision={faster} is faster")
    if start is not None:
        for line in changed_machine(start.state["machine"], machine(torch.get_num_threads(), run.device)):
            run.reporter.notice(line)


def _prepare(run: RunContext, layout: Layout, start: Start | None) -> tuple[RunContext, RunParts, SampleIndex]:
    """Read the data and fill the cache; return the run with adjusted defaults, its parts and the index of its samples.

    Raises InputError where data, encoders or length do not continue the run that ``start`` belongs to.
    """
    with run.stop.interrupting():
        config, data, encoders = prepare(run.config, device=run.device, layout=layout)
        index = SampleIndex.of(data.train)
    for notice in config.notices:
        run.reporter.notice(notice.message + "".join(f" ({line})" for line in notice.help))
    if start is not None and not start.forked:
        given, former = inputs(index, encoders), SampleIndex.read(run.folder.sample_index)
        for line in start.changed_since(config, given, (former, index), data.run_length.total_steps, run.arguments):
            run.reporter.notice(line)
    try:
        with run.stop.interrupting(after=CACHE_PATIENCE):
            cached = open_cache(
                config,
                [data.train] if data.validation is None else [data.train, data.validation],
                text=encoders.text,
                vae=encoders.vae,
                dtype=encoders.dtype,
                reporter=run.reporter,
                prompts=preview_prompts(config, data),
                stopped=run.stop.requested,
                first=run.registry.files,
            )
    finally:
        run.reporter.end()
    parts = RunParts.build(config, data, replace(encoders, cached=cached), run.device)
    return replace(run, config=config), parts, index


def _start_loop(
    run: RunContext, parts: RunParts, layout: Layout, start: Start | None, index: SampleIndex, *, profile: bool
) -> Loop:
    """Build the loop and its state: initial, from other weights, or from a checkpoint."""
    total, begun = parts.data.run_length.total_steps, 0 if start is None else start.step
    timer = profile_timer(run, parts, total - begun) if profile else None
    loop = build_loop(run, parts, layout, inputs(index, parts.encoders), _watch_record(run, start), timer)
    loop.saved_step = begun
    if start is not None:
        start.restore(loop.state, run.config, total)
    elif run.config.training.init_from is not None:
        initialise(loop.state, Path(run.config.training.init_from))
    for line in start_notices(parts, begun, layout.global_batch):
        run.reporter.notice(line)
    return loop


def _watch_record(run: RunContext, start: Start | None) -> WatchRecord:
    """Return the record of the run so far; that of a fork says that all work after earlier steps is done."""
    if start is None or start.forked:
        return WatchRecord(0 if start is None else start.step)
    return WatchRecord.of(run.folder.read_status(), start.step)


def _begin(run: RunContext, loop: Loop, index: SampleIndex, origin: Mapping[str, Any] | None) -> None:
    """Write the run's record, open the observer and save the checkpoint of a fork, in the first process.

    ``origin`` names the checkpoint that a fork begins with.
    """
    record = loop.watching.record
    with translate_disk_failure(run.folder.path):
        commands = loop.watching.observer.open(record.watched, run_config(run.config))
        run.write_record(loop.state.step, record, index.to_bytes(), origin)
        loop.watching.begin()
        loop.saver.warn_of_full_disk(loop.state, loop.schedule)
        for command in commands:
            run.reporter.notice(f"watch it with: {command}")
        if origin is not None:
            loop.saver.save(loop.state)


def _train(run: RunContext, parts: RunParts, loop: Loop) -> RunResult:
    parts.denoiser.train()
    together = True
    try:
        finished = _run_loop(run, parts, loop)
    except Interrupted:
        finished = together = False
    except BaseException as error:
        report = error.report if isinstance(error, NonFiniteLoss) else None
        run.write_failure(loop.state.step, error, report, loop.watching.record)
        raise
    finally:
        loop.watching.observer.close()
        if profiled := loop.timer.close():
            run.reporter.notice(f"profile: {profiled}")
    return _end(run, loop, finished, together)


def _run_loop(run: RunContext, parts: RunParts, loop: Loop) -> bool:
    loader = BatchLoader(parts, loop.layout, run.registry.files, run.reporter)
    with (
        translate_plugin_fault(),
        translate_disk_failure(run.folder.path),
        translate_compilation(),
        translate_out_of_memory(loop.layout.batch_size, loop.layout.accumulation),
        translate_lost_process(run.processes),
        loader.open(loop.state.step, loop.total_steps, loop.timer) as batches,
    ):
        return loop.run(batches)


def _end(run: RunContext, loop: Loop, finished: bool, together: bool) -> RunResult:
    """Write the status of a run that reached its end or was stopped; processes that stop together wait for all."""
    step, watching = loop.state.step, loop.watching
    if run.processes.first:
        with contextlib.suppress(OSError):
            clean(run.checkpoints.folder)
    reason = "" if finished else run.stop.reason
    run.write_status("finished" if finished else "interrupted", step, reason, watching.record)
    if not finished:
        run.reporter.notice(f"stopped after step {step} of {loop.total_steps}; the same command continues")
    if together:
        with translate_lost_process(run.processes):
            run.processes.barrier()  # torchrun ends all processes when the first one leaves, even while they write
    failures = watching.record.failures
    return RunResult(
        run.folder.path,
        step,
        watching.latest,
        watching.image,
        loop.total_steps,
        _status_of_end(run, failures) if finished else run.stop.exit_status,
        stopped=not finished,
        failures=tuple(map(str, failures)),
    )
