"""The builder of the training loop from a run's context and parts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from dit_run.assembly.layout import Layout
from dit_run.compute.launchers import shutdown_seconds
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.compute.timing import gemm_peak
from dit_run.training.compile import compile_blocks, count_shapes
from dit_run.training.compile_choice import reason_not_to_compile
from dit_run.training.evaluation_tasks import EvaluationParts
from dit_run.training.gradients import distribute
from dit_run.training.loop import Loop
from dit_run.training.meters import Meters
from dit_run.training.nonfinite import NonFiniteGuard, continue_advice
from dit_run.training.observer import Observer
from dit_run.training.process_pace import ProcessPace
from dit_run.training.resume_checks import machine
from dit_run.training.run_context import RunContext
from dit_run.training.run_parts import RunParts
from dit_run.training.saving import RunFacts, Saver, saves_behind
from dit_run.training.schedule import Schedule
from dit_run.training.shared_tasks import SharedTasks
from dit_run.training.state import TrainState
from dit_run.training.step import TrainingStep
from dit_run.training.step_loss import StepLoss
from dit_run.training.step_timer import StepTimer
from dit_run.training.throughput import build_throughput
from dit_run.training.watch_guard import WatchGuard, describe_failure
from dit_run.training.watch_record import WatchRecord
from dit_run.training.watching import Watching

__all__ = ["build_loop", "profile_timer"]


def build_loop(
    run: RunContext,
    parts: RunParts,
    layout: Layout,
    inputs: Mapping[str, Any],
    record: WatchRecord,
    timer: StepTimer | None = None,
) -> Loop:
    """Build the loop with a new state, at step 0 with initial weights."""
    memory = MemoryMeter(run.device)
    throughput = build_throughput(parts, run.processes, run.reporter, profiled=timer is not None)
    timer = timer or _timer(run, memory)
    step = _distributed_step(run, parts, layout, timer)
    state, schedule = _new_state(run, parts, step), Schedule(run.config, parts.data.run_length)
    guard = WatchGuard(record, run.stop, run.folder, run.reporter, state)
    shared = SharedTasks(EvaluationParts(parts), run.processes, run.stop.check, describe_failure)
    observer = Observer(parts, run.folder, run.reporter, guard, shared)
    facts = RunFacts(
        config=run.config,
        layout=layout,
        total_steps=parts.data.run_length.total_steps,
        machine=machine(torch.get_num_threads(), run.device),
        plugins=run.deciding_plugins(),
        inputs=inputs,
        prompts=observer.prompts,
        scalar_means=parts.data.scalar_means,
    )
    return Loop(
        state=state,
        step=step,
        layout=layout,
        schedule=schedule,
        processes=run.processes,
        reporter=run.reporter,
        watching=Watching(state, schedule, observer, guard, run.folder, run.reporter),
        saver=Saver(
            facts,
            run.checkpoints,
            run.folder,
            run.processes,
            run.reporter,
            sharding=parts.sharding,
            behind=saves_behind(run.config.training.async_save, run.device),
            shutdown=shutdown_seconds(os.environ),
        ),
        timer=timer,
        stop=run.stop,
        memory=memory,
        throughput=throughput,
        shared=shared,
        whole=parts.whole,
    )


def _timer(run: RunContext, memory: MemoryMeter) -> StepTimer:
    """Return the timer of a run without a profile, which compares the processes where there are several."""
    if run.processes.count == 1:
        return StepTimer()
    return ProcessPace(run.processes, run.device, memory, run.reporter.notice)


def profile_timer(run: RunContext, parts: RunParts, steps: int) -> StepTimer:
    """Return the timer of a profile of ``steps`` steps; the first process alone measures."""
    if not run.processes.first:
        return StepTimer()
    from dit_run.training.profile import Profile

    peak = gemm_peak(run.device, parts.precision.dtype or torch.float32)
    return Profile(run.device, run.folder.path / "profile", peak=peak, steps=steps)


def _distributed_step(run: RunContext, parts: RunParts, layout: Layout, timer: StepTimer) -> TrainingStep:
    training = run.config.training
    _compile(run, parts)
    forward, gradients = distribute(
        _sharded(parts, parts.step_loss()),
        run.processes,
        parts.sharding,
        exact=training.elastic_exact,
        accumulation=layout.accumulation,
    )
    return parts.training_step(
        learning_rate_factor=parts.learning_rate_factor(),
        forward=forward,
        gradients=gradients,
        timer=timer,
    )


def _sharded(parts: RunParts, loss: StepLoss) -> StepLoss:
    """Shard all that trains, in place, and its averages, where the config shards them."""
    if parts.sharding is not None:
        parts.sharding.apply(loss)
        for average in parts.averages.values():
            average.shard(parts.sharding)
    return loss


def _compile(run: RunContext, parts: RunParts) -> None:
    """Compile the model where ``training.compile_model`` says so; report why ``auto`` does not."""
    wanted = run.config.training.compile_model
    reason = reason_not_to_compile(wanted, run.device)
    if reason is None:
        compile_blocks(parts.denoiser, count_shapes(parts.data.train, parts.encoders), whole=wanted == "whole")
    elif wanted and run.processes.first:
        run.reporter.notice(reason)


def _new_state(run: RunContext, parts: RunParts, step: TrainingStep) -> TrainState:
    training = run.config.training
    return TrainState(
        denoiser=parts.denoiser,
        averages=parts.averages,
        optimizer=step.optimizer,
        scaler=step.scaler,
        meters=Meters(run.device, parts.data.train.parts.names, parts.logged),
        nonfinite=NonFiniteGuard(
            training.max_bad_steps, step.scaler.is_enabled(), run.reporter.notice, continue_advice(training)
        ),
    )
