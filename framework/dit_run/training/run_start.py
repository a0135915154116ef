"""The start of a run: read its data, fill its cache, build its loop, and write its first record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from dit_run.assembly.adaptation import refuse_other_base
from dit_run.assembly.layout import Layout
from dit_run.assembly.objectives import build_objectives, features_of
from dit_run.assembly.parts import Encoders, build_denoiser
from dit_run.assembly.prepare import Data, prepare
from dit_run.cache.builder import CACHE_PATIENCE
from dit_run.cache.open_cache import open_cache
from dit_run.compute.devices import multiplies_bfloat16
from dit_run.compute.neighbours import Neighbours
from dit_run.data.sample_index import SampleIndex
from dit_run.model.latent_normalization import LatentNormalization
from dit_run.system.durable import translate_disk_failure
from dit_run.training.loop import Loop
from dit_run.training.loop_builder import build_loop, profile_timer
from dit_run.training.normalizing import MEASURED_SAMPLES, measure_latents
from dit_run.training.resume import Start
from dit_run.training.resume_checks import changed_machine, feature_inputs, inputs, machine
from dit_run.training.run_context import RunContext
from dit_run.training.run_parts import RunParts
from dit_run.training.scoring import preview_prompts
from dit_run.training.start_notices import start_notices
from dit_run.training.watch_record import WatchRecord

__all__ = ["Prepared", "begin_run", "prepare_run", "report_machine", "start_loop"]


@dataclass(frozen=True)
class Prepared:
    """A run whose data are read and whose cache is filled."""

    run: RunContext
    """With adjusted defaults."""
    parts: RunParts
    index: SampleIndex
    """The index of the training samples."""
    inputs: Mapping[str, Any]
    """Data and encoders as plain values: see :func:`~dit_run.training.resume_checks.inputs`.

    With an adapter, ``model`` is the digest of the weights that it changes."""


def report_machine(run: RunContext, start: Start | None) -> None:
    """Report processes without a connection, a slow precision, and another machine than the run began on."""
    if missing := run.processes.missing_connections():
        run.reporter.notice(missing)
    if run.config.training.mixed_precision == "bf16" and not multiplies_bfloat16(run.device):
        name, faster = ("GPU", "fp16") if run.device.type == "cuda" else ("processor", "no")
        run.reporter.notice(f"this {name} is slow in bfloat16; training.mixed_precision={faster} is faster")
    if start is not None:
        for line in changed_machine(start.state["machine"], machine(torch.get_num_threads(), run.device)):
            run.reporter.notice(line)


def prepare_run(run: RunContext, layout: Layout, start: Start | None) -> Prepared:
    """Read the data and fill the cache.

    Raises InputError where data, encoders or length do not continue the run that ``start`` belongs to.
    """
    neighbours = Neighbours.of(run.processes)
    with run.stop.interrupting():
        config, data, encoders = prepare(run.config, device=run.device, layout=layout, neighbours=neighbours)
        find_index = partial(SampleIndex.of, data.train)
        index = find_index() if SampleIndex.is_kept(data.train) else neighbours.share(find_index)
        given = inputs(index, encoders)
    for notice in config.notices:
        run.reporter.notice(notice.message + "".join(f" ({line})" for line in notice.help))
    if start is not None and not start.forked:
        former = SampleIndex.read(run.folder.sample_index)
        for line in start.changed_since(config, given, (former, index), data.run_length.total_steps, run.arguments):
            run.reporter.notice(line)
    # On the CPU, before the cache is filled: weights or names that do not fit are refused first.
    begin = run.reporter.notice if start is None else None
    denoiser = build_denoiser(config, encoders, torch.device("cpu"), begin=begin, base=True)
    if start is not None and not start.forked:
        refuse_other_base(denoiser, start.base, where=str(run.folder.path))
    objectives = build_objectives(
        config, denoiser, run.device, total_steps=data.run_length.total_steps, latent_factor=encoders.vae.factor
    )
    given |= feature_inputs(features_of(objectives))
    if start is not None and not start.forked:
        start.refuse_other_features(given, index, run.arguments)
    begun = 0 if start is None else start.step
    try:
        with run.stop.interrupting(after=CACHE_PATIENCE):
            cached = open_cache(
                config,
                [data.train] if data.validation is None else [data.train, data.validation],
                texts=encoders.texts,
                vae=encoders.vae,
                features=features_of(each for each in objectives if each.end > begun),
                dtype=encoders.dtype,
                reporter=run.reporter,
                prompts=preview_prompts(config, data),
                stopped=run.stop.requested,
                first=run.registry.files,
                processes=run.processes,
            )
    finally:
        run.reporter.end()
    run, encoders = replace(run, config=config), replace(encoders, cached=cached)
    if start is None and denoiser.normalization is not None:
        with run.stop.interrupting():
            run.reporter.notice(_normalize(run, data, encoders, denoiser.normalization))
    parts = RunParts.build(
        config, data, encoders, run.device, denoiser=denoiser, objectives=objectives, sharding=run.sharding
    )
    base = {"model": denoiser.base} if denoiser.base else {}
    return Prepared(run, parts, index, {**given, **base})


def _normalize(run: RunContext, data: Data, encoders: Encoders, normalization: LatentNormalization) -> str:
    """Measure the latents of a new run, unless its initial weights have a normalisation; return a notice."""
    if not normalization.is_identity:
        return "vae.normalize: the mean and standard deviation of latents are those of training.init_from"
    found = run.processes.on_first(lambda: measure_latents(run.config, data, encoders, run.device))
    normalization.set(found.mean, found.deviation)
    count = min(MEASURED_SAMPLES, len(data.train))
    return f"vae.normalize: latents are normalised by {found.text}, measured over {count:,} training samples"


def start_loop(prepared: Prepared, layout: Layout, start: Start | None, *, profile: bool) -> Loop:
    """Build the loop and its state: initial, or from a checkpoint."""
    run, parts = prepared.run, prepared.parts
    total, begun = parts.data.run_length.total_steps, 0 if start is None else start.step
    timer = profile_timer(run, parts, total - begun) if profile else None
    loop = build_loop(run, parts, layout, prepared.inputs, _watch_record(run, start), timer)
    loop.saved_step = begun
    if start is not None:
        start.restore(loop.state, run.config, total)
    for line in start_notices(parts, begun, layout.global_batch):
        run.reporter.notice(line)
    return loop


def _watch_record(run: RunContext, start: Start | None) -> WatchRecord:
    """Return the record of the run so far; that of a fork says that all work after earlier steps is done."""
    if start is None or start.forked:
        return WatchRecord(0 if start is None else start.step)
    return WatchRecord.of(run.folder.read_status(), start.step)


def begin_run(prepared: Prepared, loop: Loop, origin: Mapping[str, Any] | None) -> None:
    """Write the run's record and open the observer, in the first process.

    ``origin`` names the checkpoint that a fork begins with.
    """
    run, record = prepared.run, loop.watching.record
    with translate_disk_failure(run.folder.path):
        commands = loop.watching.observer.open(record.watched)
        run.write_record(loop.state.step, record, prepared.index, origin)
        loop.watching.begin()
        loop.saver.warn_of_full_disk(loop.state, loop.schedule)
        for command in commands:
            run.reporter.notice(f"watch it with: {command}")
