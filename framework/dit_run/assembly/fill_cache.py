"""Filling the cache of a config without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dit_run.assembly.prepare import prepare
from dit_run.cache.builder import Stopped
from dit_run.cache.open_cache import Cached, cache_folder, open_cache
from dit_run.compute.distributed import choose_device
from dit_run.compute.precision import Precision
from dit_run.protocols import Dataset
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.settings import Config
from dit_run.system.signals import StopRequest

__all__ = ["Filled", "fill"]

_NAMED = 20
"""Samples that cannot be read; more are counted."""


@dataclass(frozen=True)
class Filled:
    """What came of it."""

    lines: Sequence[str]
    exit_status: int


def fill(config: Config, registry: Registry, reporter: Reporter) -> Filled:
    """Make what the config's run would read from its cache. Raises InputError as a run would."""
    device = choose_device(config.training.device)
    training = config.training
    config, data, encoders = prepare(config, device=device)
    samples = [data.train] + ([data.validation] if data.validation is not None else [])
    with StopRequest() as stop:
        try:
            cached = open_cache(
                config,
                samples,
                text=encoders.text,
                vae=encoders.vae,
                dtype=Precision.of(training.mixed_precision, device).dtype,
                reporter=reporter,
                prompts=config.sampling.prompts,
                stopped=lambda: stop.signal is not None,
                first=registry.files,
            )
        except Stopped as stopped:
            return Filled([str(stopped)], stop.status)
    folder = cache_folder(config.cache)
    return Filled([*_skipped(cached, data.dataset), *(f"{folder}: {line}" for line in _told(cached))], 0)


def _skipped(cached: Cached, dataset: Dataset) -> list[str]:
    """The samples that cannot be read, in the words of a run that meets them."""
    bad = {} if cached.latents is None else cached.latents.bad
    lines = [f"sample {dataset[index].key} is skipped: {bad[index]}" for index in sorted(bad)[:_NAMED]]
    return [*lines, f"and {len(bad) - _NAMED} others"] if len(bad) > _NAMED else lines


def _told(cached: Cached) -> list[str]:
    lines = []
    if cached.latents is not None:
        bad = len(cached.latents.bad)
        skipped = f"; {bad} cannot be read" if bad else ""
        lines.append(f"latents of {len(cached.latents.indices) - bad} samples{skipped}")
    if cached.captions is not None:
        lines.append(f"states of {cached.captions.count} captions")
    return lines or ["nothing to keep: the encoders of this config work in every step"]
