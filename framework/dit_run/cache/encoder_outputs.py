"""Outputs of encoders for the samples of a run: known ones from the cache, or the work to complete them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.builder import Build
from dit_run.cache.caption_states import CaptionWork
from dit_run.cache.image_reader import ImageReader
from dit_run.cache.kept_places import KeptCaptions, KeptLatents
from dit_run.cache.latents import LatentWork, examined, spaces_of
from dit_run.cache.lookup import CaptionCache, Group, GroupedLatentCache, LatentCache
from dit_run.data.samples import Samples
from dit_run.model.state_format import StateFormat
from dit_run.protocols import ImageEncoder, TextEncoder
from dit_run.registry.plugin_code import code_digest
from dit_run.settings import Config

__all__ = ["LATENTS", "CaptionOutputs", "ImageOutputs", "opened_states", "release"]

LATENTS = "latents"
"""Name of the outputs of the VAE among those of all encoders of images."""


@dataclass(frozen=True)
class ImageOutputs:
    """The outputs of an encoder of images, or the work to complete them."""

    name: str
    places: KeptLatents
    found: Mapping[Group, LatentCache] | None
    """None if there is work."""
    work: Mapping[Group, LatentWork]

    @classmethod
    def opened(
        cls,
        stack: contextlib.ExitStack,
        config: Config,
        build: Build,
        reader: ImageReader,
        samples: Sequence[Samples],
        name: str,
        encoder: ImageEncoder,
    ) -> ImageOutputs:
        """Find the outputs where they are known; else examine the samples, until ``stack`` ends.

        ``name`` is LATENTS, or that of an objective, whose network encodes the first samples alone.
        """
        samples = samples if name == LATENTS else samples[:1]
        kind, factory = (LATENTS, config.vae.component.factory) if name == LATENTS else ("features", type(encoder))
        code, commons = code_digest(factory, encoder), [part.common for part in reader.parts.parts]
        spaces = {
            group: spaces_of(build, encoder, commons[group[1]], group[0], code, kind) for group in _groups(samples)
        }
        places = KeptLatents(build, encoder, spaces, samples)
        found = places.find()
        if found is not None:
            return cls(name, places, found, {})
        indices = [each.indices_by_size() for each in samples]
        work = {
            group: stack.enter_context(examined(build, encoder, reader, _joined(indices, group), group[0], code, kind))
            for group in spaces
        }
        return cls(name, places, None, work)

    def keep(self) -> LatentCache | GroupedLatentCache:
        """Do the work, and let the encoder give back its memory."""
        found = self.found
        if found is None:
            found = self.places.keep({group: work.keep() for group, work in self.work.items()})
        release(self.places.encoder)
        return _of_groups(dict(found))


@dataclass(frozen=True)
class CaptionOutputs:
    """The states of a text encoder, or the work to complete them."""

    captions: KeptCaptions
    found: CaptionCache | None
    work: CaptionWork | None
    """None if all states are found."""

    def keep(self) -> CaptionCache:
        """Do the work, and let the encoder give back its memory."""
        found = self.found if self.work is None else self.captions.keep(self.work.keep())
        release(self.captions.encoder)
        assert found is not None
        return found


def opened_states(
    config: Config,
    build: Build,
    texts: Sequence[TextEncoder],
    kept: Sequence[bool],
    samples: Sequence[Samples],
    prompts: tuple[str, ...],
) -> list[CaptionOutputs | None]:
    """Return the states of each text encoder; None for one whose states are not cached."""
    form = StateFormat.named(config.cache.text_dtype, config.cache.max_tokens)
    shown: list[str] | None = None
    opened: list[CaptionOutputs | None] = []
    for choice, text, keep in zip(config.chosen("text_encoder"), texts, kept, strict=True):
        if not keep:
            opened.append(None)
            continue
        code = code_digest(choice.component.factory, text)
        captions = KeptCaptions(build, text, code, form, samples, prompts)
        found = captions.find()
        if found is None and shown is None:
            shown = list(dict.fromkeys(chain(prompts, _texts(samples))))
        work = None if found is not None else CaptionWork.of(build, text, shown or (), code, form)
        opened.append(CaptionOutputs(captions, found, work))
    return opened


def _texts(samples: Sequence[Samples]) -> Iterable[str]:
    """Yield the texts of all captions, in the order of the dataset."""
    for index in np.unique(np.concatenate([each.indices for each in samples])).tolist():
        yield from samples[0].texts(index)


def _groups(samples: Sequence[Samples]) -> list[Group]:
    """Return the sizes and parts of all samples.

    They are in one order for all runs: builders lock the space of a size and background in this order.
    """
    parts = samples[0].parts.parts
    found = {group for each in samples for group in each.sizes_and_parts()}
    return sorted(found, key=lambda group: (group[0], parts[group[1]].common.alpha_background, group[1]))


def _joined(indices: Sequence[Mapping[Group, NDArray[np.int64]]], group: Group) -> NDArray[np.int64]:
    """Return the indices of all samples of a size and part, ascending."""
    return np.unique(np.concatenate([each[group] for each in indices if group in each]))


def _of_groups(caches: dict[Group, LatentCache]) -> LatentCache | GroupedLatentCache:
    """Return the only cache of a run with squares, else all of them as one."""
    return GroupedLatentCache(caches) if len(caches) > 1 else next(iter(caches.values()))


def release(encoder: object) -> None:
    """Let an encoder give back its memory, if it can."""
    method = getattr(encoder, "release", None)
    if method is not None:
        method()
