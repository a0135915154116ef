"""Open the cache of a run, and encode what is missing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch

from dit_run.cache.builder import Build
from dit_run.cache.encoder_outputs import LATENTS, ImageOutputs, opened_states
from dit_run.cache.image_reader import ImageReader
from dit_run.cache.lookup import CaptionCache, GroupedLatentCache, LatentCache
from dit_run.cache.team import Team
from dit_run.compute.distributed import Processes
from dit_run.compute.shared_work import SharedWork
from dit_run.data.samples import Samples
from dit_run.digests import cache_home
from dit_run.problems import InputError
from dit_run.protocols import VAE, ImageEncoder, TextEncoder
from dit_run.reporting import Reporter
from dit_run.settings import CacheOptions, Config
from dit_run.system.cores import usable_cores
from dit_run.system.durable import make_folder

__all__ = ["Cacheable", "Cached", "cache_folder", "cacheable", "default_folder", "open_cache"]


@dataclass(frozen=True)
class Cached:
    """Cached outputs of a run's encoders; None for an encoder that works in every step. Picklable."""

    latents: LatentCache | GroupedLatentCache | None = None
    captions: tuple[CaptionCache | None, ...] = ()
    """Caches of states, in the order of the text encoders; empty if the states of none are cached."""
    features: Mapping[str, LatentCache | GroupedLatentCache] = field(default_factory=dict)
    """Outputs of the frozen networks of objectives, for the training samples, by the objectives' names."""


@dataclass(frozen=True)
class Cacheable:
    """The outputs of a run's encoders that are cached."""

    captions: tuple[bool, ...]
    """For each text encoder, True if its states are."""
    latents: bool
    features: bool = False
    """True if the outputs of frozen networks for the training images are."""


def cache_folder(options: CacheOptions) -> Path:
    """Return the folder of the cache as an absolute path. Raises InputError where no default is known."""
    return Path(options.dir).absolute() if options.dir is not None else default_folder("cache.dir")


def default_folder(key: str) -> Path:
    """Return the default folder of the cache. Raises InputError without one; ``key`` sets another folder."""
    home = cache_home()
    if home is None:
        raise InputError(
            f"there is no folder for the cache: HOME is not set, and user {os.getuid()} has no home folder. Set {key}, "
            "or HOME or XDG_CACHE_HOME in the environment"
        )
    return home


def open_cache(
    config: Config,
    samples: Sequence[Samples],
    *,
    texts: Sequence[TextEncoder],
    vae: VAE,
    features: Mapping[str, ImageEncoder] = MappingProxyType({}),
    dtype: torch.dtype | None,
    reporter: Reporter,
    prompts: Iterable[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    first: object = None,
    processes: Processes | None = None,
) -> Cached:
    """Open the cache for all these samples (of one dataset) and encode what is missing.

    ``features`` are the frozen networks of objectives by name; they encode the first samples, those of training, alone.
    ``prompts`` are cached like captions. ``dtype`` is that of autocast, None for float32. ``first`` is sent to workers
    before the dataset: unpickling it imports what the dataset needs. An encoder whose output is cached and that has a
    method ``release`` gives back its memory afterwards.

    All ``processes`` of a run call this and share the work; another run that builds the same waits. Raises InputError
    for an unreadable image, a disk that is too small, or an encoder that cannot be cached although ``cache.mode`` is
    ``required``; raises :class:`~dit_run.cache.builder.Stopped` when ``stopped`` returns True.
    """
    keeps = cacheable(config, texts, vae)
    features = features if keeps.features else {}
    if not (keeps.latents or features or any(keeps.captions)):
        return Cached()
    shared, root = SharedWork(processes), _made(cache_folder(config.cache))
    team = Team.of(root, shared.processes)
    build = Build(root, dtype, reporter.phase, reporter.notice, stopped, shared, team)
    with contextlib.ExitStack() as stack:
        encoders = {**({LATENTS: vae} if keeps.latents else {}), **features}
        reader = ImageReader(
            samples[0].dataset,
            samples[0].parts,
            min(config.cache.num_workers, usable_cores()),
            first,
            build.check_stopped,
        )
        stack.enter_context(reader)
        images = [
            ImageOutputs.opened(stack, config, build, reader, samples, name, encoder)
            for name, encoder in encoders.items()
        ]
        states = opened_states(config, build, texts, keeps.captions, samples, tuple(prompts))
        latent_bytes = sum(work.missing_bytes() for each in images for work in each.work.values())
        state_bytes = sum(each.work.missing_bytes() for each in states if each is not None and each.work is not None)
        build.by_leader(lambda: build.check_room(latents=latent_bytes, states=state_bytes))
        captions = tuple(None if each is None else each.keep() for each in states)
        kept = {each.name: each.keep() for each in images}
    return Cached(kept.pop(LATENTS, None), captions, kept)


def cacheable(config: Config, texts: Sequence[TextEncoder], vae: VAE) -> Cacheable:
    """Return which outputs are cached. Raises InputError if all are required and one cannot be."""
    mode = config.cache.mode
    if mode == "off":
        return Cacheable((False,) * len(texts), False)
    choices = zip(config.chosen("text_encoder"), texts, strict=True)
    commons = [choice.common for _, choice in config.datasets()]
    crops = any(common.crop == "random" for common in commons)
    varied = any(common.varies_captions for common in commons)
    reasons = {
        **{f"text encoder {choice.type} is trained": text.trainable for choice, text in choices},
        f"VAE {config.vae.type} needs no cache": not vae.cacheable,
        "data.crop is random, so each visit has another crop": crops,
        "data.shuffle_tags or data.tag_dropout gives a caption another text in each visit": varied,
    }
    hindrances = [reason for reason, holds in reasons.items() if holds]
    if mode == "required" and hindrances:
        raise InputError(f"cache.mode is required, but {'; '.join(hindrances)}; use cache.mode: auto")
    captions = tuple(not (text.trainable or varied) for text in texts)
    return Cacheable(captions, vae.cacheable and not crops, not crops)


def _made(folder: Path) -> Path:
    try:
        make_folder(folder)
    except OSError as error:
        raise InputError(
            f"the cache folder {folder} cannot be created: {error}; set cache.dir to another folder"
        ) from error
    return folder
