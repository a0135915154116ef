"""Opening the cache for a run: what can be kept is there afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dit_run.cache.builder import Build
from dit_run.cache.caption_states import CaptionWork
from dit_run.cache.image_reader import PictureReader
from dit_run.cache.latents import LatentWork, looked_at
from dit_run.cache.lookup import CaptionCache, LatentCache
from dit_run.data.samples import Samples
from dit_run.digests import cache_home
from dit_run.problems import InputError
from dit_run.protocols import VAE, TextEncoder
from dit_run.reporting import Reporter
from dit_run.settings import CacheOptions, Config
from dit_run.system.durable import make_folder

__all__ = ["Cached", "cache_folder", "kept", "open_cache", "release"]


@dataclass(frozen=True)
class Cached:
    """What is kept of a run's encoders' output; None for an encoder that works in every step. Picklable."""

    latents: LatentCache | None = None
    captions: CaptionCache | None = None


def cache_folder(options: CacheOptions) -> Path:
    """Where the cache is, as an absolute path."""
    return Path(options.dir).expanduser().absolute() if options.dir is not None else cache_home()


def open_cache(
    config: Config,
    samples: Sequence[Samples],
    *,
    text: TextEncoder,
    vae: VAE,
    dtype: torch.dtype | None,
    reporter: Reporter,
    prompts: Iterable[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    first: object = None,
) -> Cached:
    """The cache for all these samples (of one dataset), with what was missing; ``prompts`` are kept like captions.

    ``dtype`` is that of autocast, None for float32. ``first`` is sent to reading processes before the dataset:
    unpickling it imports what the dataset needs. Encoders whose output is kept have given back their memory
    afterwards, where they have a method ``release``.

    Every process of a run may call this: one builds, the others wait and find it done. Raises InputError for pictures
    that cannot be read, a disk that is too small, an encoder that cannot be cached where ``cache.mode`` requires it;
    :class:`~dit_run.cache.builder.Stopped` when ``stopped`` says so.
    """
    keeps_text, keeps_latents = kept(config, text, vae)
    if not (keeps_text or keeps_latents):
        return Cached()
    build = Build(_made(cache_folder(config.cache)), dtype, reporter.phase, reporter.notice, stopped)
    indices = np.unique(np.concatenate([each.indices for each in samples])).tolist()
    texts: CaptionWork | None = None
    pictures: LatentWork | None = None
    with contextlib.ExitStack() as stack:
        if keeps_latents:
            workers = config.cache.num_workers
            reader = PictureReader(samples[0].dataset, samples[0].common, workers, first, build.check_stopped)
            pictures = stack.enter_context(looked_at(build, vae, stack.enter_context(reader), indices))
        if keeps_text:
            shown = (caption for index in indices for caption in samples[0].dataset[index].captions)
            texts = CaptionWork.of(build, text, (*prompts, *shown))
        build.check_room(sum(work.bytes_lacking() for work in (texts, pictures) if work is not None))
        captions, latents = None, None
        if texts is not None:
            captions = texts.keep()
            release(text)
        if pictures is not None:
            latents = pictures.keep()
            release(vae)
    return Cached(latents, captions)


def kept(config: Config, text: TextEncoder, vae: VAE) -> tuple[bool, bool]:
    """Whether text states and latents are kept. Raises InputError where they must be and cannot."""
    mode = config.cache.mode
    if mode == "off":
        return False, False
    reasons = {
        f"text encoder {config.text_encoder.type} is trained": text.trainable,
        f"VAE {config.vae.type} makes nothing worth keeping": not vae.cacheable,
        "data.crop is random, so each visit shows another square": config.data.common.crop == "random",
    }
    hindrances = [reason for reason, holds in reasons.items() if holds]
    if mode == "required" and hindrances:
        raise InputError(f"cache.mode is required, but {'; '.join(hindrances)}; take cache.mode: auto")
    return not text.trainable, vae.cacheable and config.data.common.crop == "center"


def _made(folder: Path) -> Path:
    try:
        make_folder(folder)
    except OSError as error:
        raise InputError(f"the cache folder {folder} cannot be made: {error}; set cache.dir elsewhere") from error
    return folder


def release(encoder: object) -> None:
    """Let an encoder give its memory back, if it can."""
    method = getattr(encoder, "release", None)
    if method is not None:
        method()
