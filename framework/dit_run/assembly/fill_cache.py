"""Fill the cache of a config without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dit_run.assembly.objectives import build_objectives, features_of
from dit_run.assembly.parts import build_denoiser
from dit_run.assembly.prepare import prepare
from dit_run.cache.builder import CACHE_PATIENCE, Stopped
from dit_run.cache.open_cache import Cached, cache_folder, open_cache
from dit_run.compute.distributed import Processes, join_processes, translate_lost_process
from dit_run.compute.neighbours import Neighbours
from dit_run.protocols import Dataset
from dit_run.registry.registry import Registry
from dit_run.reporting import Reporter
from dit_run.settings import Config
from dit_run.system.signals import Interrupted, StopRequest

__all__ = ["FilledCache", "fill"]

_NAMED = 20
"""Unreadable samples that are listed by name; the others are only counted."""


@dataclass(frozen=True)
class FilledCache:
    """The result, as lines to show."""

    lines: Sequence[str]
    exit_status: int


def fill(config: Config, registry: Registry, reporter: Reporter) -> FilledCache:
    """Encode what a run of the config reads from its cache; the processes of a launcher share the work.

    Raises InputError as the run would.
    """
    with (
        join_processes(config.training.device) as processes,
        translate_lost_process(processes, "with the missing records"),
    ):
        return _filled(config, registry, reporter, processes)


def _filled(config: Config, registry: Registry, reporter: Reporter, processes: Processes) -> FilledCache:
    device = processes.device
    with StopRequest() as stop:
        try:
            with stop.interrupting():
                config, data, encoders = prepare(config, device=device, neighbours=Neighbours.of(processes))
            with torch.device("meta"):  # only its sizes count
                denoiser = build_denoiser(config, encoders, torch.device("meta"))
            objectives = build_objectives(config, denoiser, device, latent_factor=encoders.vae.factor)
            samples = [data.train] + ([data.validation] if data.validation is not None else [])
            with stop.interrupting(after=CACHE_PATIENCE):
                cached = open_cache(
                    config,
                    samples,
                    texts=encoders.texts,
                    vae=encoders.vae,
                    features=features_of(objectives),
                    dtype=encoders.dtype,
                    reporter=reporter,
                    prompts=config.sampling.prompts,
                    stopped=lambda: stop.signal is not None,
                    first=registry.files,
                    processes=processes,
                )
        except (Stopped, Interrupted) as stopped:
            return FilledCache([str(stopped) or "stopped; finished records are kept"], stop.status)
    folder = cache_folder(config.cache)
    return FilledCache([*_skipped(cached, data.dataset), *(f"{folder}: {line}" for line in _contents(cached))], 0)


def _skipped(cached: Cached, dataset: Dataset) -> list[str]:
    """Return a line for each unreadable sample, with the texts of a run."""
    bad = {} if cached.latents is None else cached.latents.bad
    lines = [f"sample {dataset[index].key} is skipped: {bad[index]}" for index in sorted(bad)[:_NAMED]]
    return [*lines, f"and {len(bad) - _NAMED} others"] if len(bad) > _NAMED else lines


def _contents(cached: Cached) -> list[str]:
    """Return a line for each part of the cache."""
    lines = []
    if cached.latents is not None:
        bad = len(cached.latents.bad)
        skipped = f"; {bad} cannot be read" if bad else ""
        lines.append(f"latents of {len(cached.latents.indices) - bad} samples{skipped}")
    lines += [f"features of {len(each.indices)} samples for objective {name}" for name, each in cached.features.items()]
    several = len(cached.captions) > 1
    for place, captions in enumerate(cached.captions):
        if captions is not None:
            lines.append(f"states of {captions.count} captions" + (f" of text_encoder[{place}]" if several else ""))
    return lines or ["nothing to cache: the encoders of this config run in every step"]
