"""A run: from a config to a finished run folder; an unfinished run is continued."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dit_run.assembly.layout import Layout
from dit_run.cache.builder import Stopped
from dit_run.compute.distributed import Processes, join_processes, translate_lost_process
from dit_run.compute.out_of_memory import translate_out_of_memory
from dit_run.compute.precision import Precision
from dit_run.compute.sharding import Sharding
from dit_run.config.machine_rules import check_machine
from dit_run.protocols import RunEnd
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.runs.checkpoint.store import Checkpoints
from dit_run.runs.run_folder import RunFolder
from dit_run.settings import Config
from dit_run.system.durable import translate_disk_failure
from dit_run.system.signals import Interrupted, StopRequest
from dit_run.training.batch_loading import BatchLoader
from dit_run.training.compile import translate_compilation
from dit_run.training.kept_notices import KeptNotices
from dit_run.training.loop import Loop
from dit_run.training.nonfinite import NonFiniteLoss
from dit_run.training.resume import find_start
from dit_run.training.resume_checks import refuse_changed_plugins
from dit_run.training.resume_settings import refuse_changes_of_finished
from dit_run.training.run_context import RunContext
from dit_run.training.run_parts import RunParts
from dit_run.training.run_result import RunResult, end_run, finished_result, is_finished
from dit_run.training.run_start import begin_run, prepare_run, report_machine, start_loop
from dit_run.training.setup import StopSwitch, process_setup
from dit_run.training.shared_folder import check_shared

__all__ = ["RunResult", "train"]


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
    folder = RunFolder(Path(config.training.output_dir))
    with (
        join_processes(config.training.device) as processes,
        translate_plugin_fault(),
        translate_disk_failure(folder.path),
        translate_lost_process(processes),
        StopRequest() as signals,
        _owned(folder, processes),
    ):
        run = RunContext(
            config=config,
            registry=registry,
            processes=processes,
            folder=folder,
            checkpoints=Checkpoints(folder.checkpoints, processes.on_first(folder.run_id)),
            reporter=KeptNotices(reporter, folder.notices) if processes.first else reporter,
            stop=StopSwitch(signals, stop, config.training.max_hours, os.getppid() if processes.count > 1 else None),
            arguments=arguments,
            sharding=Sharding.of(
                config.training.shard,
                processes,
                Precision.of(config.training.mixed_precision, processes.device),
                exact=config.training.elastic_exact,
            ),
        )
        return _execute(run, fork_from, profile=profile, allow_changed_plugins=allow_changed_plugins)


@contextlib.contextmanager
def _owned(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Hold the folder's lock in the first process; a new folder that nothing was written to is removed again."""
    new = not folder.path.exists()
    with contextlib.ExitStack() as stack:
        processes.on_first(lambda: stack.enter_context(folder.lock()))
        try:
            check_shared(folder, processes)
            yield
        finally:
            if new and processes.first:
                with contextlib.suppress(OSError):
                    folder.remove_if_empty()


def _execute(run: RunContext, fork_from: Path | None, *, profile: bool, allow_changed_plugins: bool) -> RunResult:
    start = find_start(run.checkpoints, fork_from, run.processes, run.reporter)
    if start is not None and not start.forked:
        start = start.continued_by(run.config, processes=run.processes.count, arguments=run.arguments)
        if start.at_the_end and is_finished(run):
            refuse_changes_of_finished(run.folder.path, start.changes, run.arguments)
            return finished_result(run, start.step)
        if not allow_changed_plugins:
            refuse_changed_plugins(start.state["plugins"], run.deciding_plugins())
    layout = Layout.of(run.config, run.processes, global_batch=start.global_batch if start is not None else None)
    with process_setup(run.config.training, run.device, threads=start.threads if start is not None else None):
        report_machine(run, start)
        try:
            prepared = prepare_run(run, layout, start)
        except (Stopped, Interrupted) as stopped:
            run.reporter.notice(f"{str(stopped) or 'stopped before the first step'}; the same command continues")
            return RunResult(run.folder.path, 0, exit_status=run.stop.exit_status, stopped=True)
        loop = start_loop(prepared, layout, start, profile=profile)
        origin = start.origin if start is not None and start.forked else None
        del start  # Its tensors would take memory as long as the run.
        run.processes.on_first(lambda: begin_run(prepared, loop, origin))
        if origin is not None:
            loop.saver.begin(loop.state)
            loop.saver.settle(wait=True)
        return _train(prepared.run, prepared.parts, loop)


def _train(run: RunContext, parts: RunParts, loop: Loop) -> RunResult:
    parts.denoiser.train()
    together, end = True, RunEnd.FAILED
    try:
        finished = _run_loop(run, parts, loop)
        end = RunEnd.FINISHED if finished else RunEnd.INTERRUPTED
    except Interrupted:
        finished = together = False
        end = RunEnd.INTERRUPTED
    except BaseException as error:
        report = error.report if isinstance(error, NonFiniteLoss) else None
        run.write_failure(loop.state.step, error, report, loop.watching.record)
        raise
    finally:
        loop.watching.close(end)
        if profiled := loop.timer.close():
            run.reporter.notice(f"profile: {profiled}")
    return end_run(run, loop, finished, together)


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
