"""Preparation: index the data and load the encoders of a checked config, then check what depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dit_run.assembly.layout import Layout
from dit_run.assembly.parts import Encoders, build_encoders, try_model
from dit_run.cache.open_cache import cacheable
from dit_run.compute.distributed import Processes
from dit_run.compute.neighbours import Neighbours
from dit_run.config.rule_checks import check_rules, encoder_problems, patch_size, refuse
from dit_run.data.fitting import Fit, fit, fit_held_out, is_fitted
from dit_run.data.inventory import Inventory
from dit_run.data.order import RunLength
from dit_run.data.samples import Samples, choose
from dit_run.data.scalars import Scalars
from dit_run.data.shard_cache import ShardCache
from dit_run.digests import cache_home
from dit_run.hub import deferred_weights
from dit_run.protocols import VAE, Dataset, Facts
from dit_run.registry.factories import make
from dit_run.settings import Config
from dit_run.system.background import run_in_thread

__all__ = ["Data", "prepare"]


@dataclass(frozen=True)
class Data:
    """The samples that a run uses, and the length of the run."""

    dataset: Dataset
    train: Samples
    validation: Samples | None
    run_length: RunLength
    inventory: Inventory
    """Samples that were found, and those left out before images were given their sizes."""
    fitted: Fit | None = None
    """Sizes of the training images, and the images that were left out; None for squares of all images."""
    scalar_means: Mapping[str, float] = field(default_factory=dict)
    """Mean over the training samples of each number from the data that the model takes."""


def prepare(
    config: Config, *, device: torch.device, layout: Layout | None = None, neighbours: Neighbours | None = None
) -> tuple[Config, Data, Encoders]:
    """Index the data and load the encoders at the same time, then check what depends on them.

    Missing data are reported while weights are still being downloaded. ``layout`` is by default that of one process;
    of the ``neighbours`` of a run, by default this process alone, the first looks at the data for the others.
    Runs, checks, plans and `dit-run cache` all begin here, so that each refuses the configs that the others refuse.

    Returns the config with adjusted defaults. Raises ConfigError or InputError.
    """
    encoders = run_in_thread(partial(_fitting_encoders, config, device))
    neighbours = neighbours or Neighbours(Processes())
    data = neighbours.share(partial(build_data, config, layout))
    check_rules(config, _facts(data))  # before weights that may still be downloaded
    built = encoders.result()
    checked = check_rules(config, _facts(data, built.vae))
    if any(is_fitted(choice.common) for _, choice in config.datasets()):
        unit = built.vae.factor * patch_size(config)
        data = neighbours.share(partial(fit_data, config, data, unit=unit, layout=layout))
        checked = check_rules(config, _facts(data, built.vae))
    config = checked
    if names := config.scalar_names:
        data = neighbours.share(partial(with_scalars, data, names))
    for index, text in enumerate(built.texts):
        if text.trainable:
            refuse(config, encoder_problems(config, "text_encoder", because="it is trained", index=index))
    if not built.vae.cacheable:
        refuse(config, encoder_problems(config, "vae", because="encoding costs nothing"))
    kept = cacheable(config, built.texts, built.vae)
    frozen_text = not all(text.trainable for text in built.texts)
    facts = replace(_facts(data, built.vae), cached=kept.latents or any(kept.captions), frozen_text=frozen_text)
    return check_rules(config, facts), data, built


def _fitting_encoders(config: Config, device: torch.device) -> Encoders:
    """Return the encoders with the files of their weights.

    Latents, text states, model and adapter that do not fit are refused before weights are downloaded or read.
    """
    with deferred_weights() as deferred:
        encoders = build_encoders(config, device)
    if deferred or config.adapter is not None:
        try_model(check_rules(config, _latent_facts(encoders.vae)), encoders)
    for files in deferred:
        files.fetch()
    return encoders


def _facts(data: Data, vae: VAE | None = None) -> Facts:
    """Return what the data, and the VAE once it is built, add to the config."""
    facts = Facts(downloads=True) if vae is None else _latent_facts(vae)
    return replace(facts, total_steps=data.run_length.total_steps, samples=len(data.train))


def _latent_facts(vae: VAE) -> Facts:
    """Return what the VAE adds to the config."""
    return Facts(latent_channels=vae.latent_channels, latent_factor=vae.factor, downloads=True)


def build_data(config: Config, layout: Layout | None = None) -> Data:
    """Return the dataset, its split and the length of a run over it, before images are given their sizes."""
    common = config.data.common
    dataset = make(
        config.data.component,
        config.data.options,
        image_size=common.image_size,
        on_bad_sample=common.on_bad_sample,
        scalars=config.scalar_names,
        shard_cache=shard_cache(config),
    )
    train, validation = choose(dataset, common, config.training.seed)
    inventory = Inventory.of([part for part in (train, validation) if part is not None])
    return Data(dataset, train, validation, _length(config, train, layout), inventory)


def shard_cache(config: Config) -> ShardCache | None:
    """Return the cache of remote shards in the config's cache folder; None where no folder is known."""
    folder = Path(config.cache.dir) if config.cache.dir is not None else cache_home()
    return None if folder is None else ShardCache.of(folder, round(config.cache.shards_gb * 1e9))


def fit_data(config: Config, data: Data, *, unit: int, layout: Layout | None = None) -> Data:
    """Return the data with the sizes of its images, without those that the config excludes.

    ``unit`` is the VAE's factor times the model's patch size, of which sizes are multiples.
    """
    train, fitted = fit(data.train, unit=unit, batch_size=config.training.batch_size)
    validation = None
    if data.validation is not None:
        validation, held_out = fit_held_out(data.validation, unit=unit)
        fitted = fitted.with_left_out(held_out)
    return replace(data, train=train, validation=validation, run_length=_length(config, train, layout), fitted=fitted)


def with_scalars(data: Data, names: tuple[str, ...]) -> Data:
    """Return the data with the numbers that the model takes. Raises InputError where samples lack one."""
    parts = [part for part in (data.train, data.validation) if part is not None]
    scalars = Scalars.of(names, data.dataset, np.concatenate([part.indices for part in parts]))
    validation = None if data.validation is None else replace(data.validation, scalars=scalars)
    means = scalars.means(data.dataset, data.train.indices)
    return replace(data, train=replace(data.train, scalars=scalars), validation=validation, scalar_means=means)


def _length(config: Config, train: Samples, layout: Layout | None) -> RunLength:
    global_batch = (layout or Layout.of(config)).global_batch
    return RunLength(len(train), global_batch, config.training.num_epochs, config.training.max_steps)
