"""Building the cache: what is missing is encoded, and kept as it is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_run.cache.encode import ENCODING_VERSION, device_of, encode_captions, encode_latents
from dit_run.cache.files import FileDigests
from dit_run.cache.pictures import Content, PictureReader
from dit_run.cache.read import CaptionCache, LatentCache, caption_key
from dit_run.cache.records import Records
from dit_run.cache.space import Space, Writer
from dit_run.data.images import PREPROCESSING_VERSION, decoder
from dit_run.devices import encoding_chunks
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import VAE, TextEncoder
from dit_run.settings import DatasetCommon

__all__ = ["Builder", "Stopped", "forecast"]

_ROUNDS = 3
_TYPICAL_TOKENS = 16
_LOOKED_AT = 256

Progress = Callable[[str, int, int], None]


class Stopped(DitRunError):
    """Asked to stop while the cache was built; what was made is kept."""


@dataclass(frozen=True)
class Builder:
    """Fills spaces below ``root`` with what encoders on their devices make, in the precision ``dtype``."""

    root: Path
    dtype: torch.dtype | None
    """Of autocast; None is float32."""
    progress: Progress = lambda name, done, total: None
    """Told of a phase's name, and items done of all."""
    notice: Callable[[str], None] = lambda text: None
    stopped: Callable[[], bool] = lambda: False

    @property
    def kept_dtype(self) -> torch.dtype:
        """What values are kept in: encoding rounds to it, so that nothing is lost."""
        return self.dtype or torch.float32

    # -------------------------------------------------------------------------------------------------------- captions

    def captions(self, encoder: TextEncoder, captions: Iterable[str]) -> CaptionCache:
        """The cache of these captions and the empty one; those that it lacks are encoded now."""
        space = Space.of(self.root, "captions", self._caption_settings(encoder))
        wanted = {caption_key(caption): caption for caption in ("", *captions)}
        with space.building(self._waiting):
            places = Records.open(space).find(list(wanted))
            missing = [caption for caption, place in zip(wanted.values(), places, strict=True) if place < 0]
            self._check_space(len(missing) * self._caption_bytes(encoder))
            self._encode_captions(encoder, space, missing)
        return CaptionCache(
            Records.open(space),
            encoder.width,
            encoder.pooled_width,
            encoder.max_length,
            self.kept_dtype,
            partial(encode_captions, encoder, dtype=self.dtype),
        )

    def _caption_settings(self, encoder: TextEncoder) -> dict[str, Any]:
        return {**self._settings(encoder), "max_length": encoder.max_length}

    def _caption_bytes(self, encoder: TextEncoder) -> int:
        return (_TYPICAL_TOKENS * encoder.width + encoder.pooled_width) * self.kept_dtype.itemsize

    def _encode_captions(self, encoder: TextEncoder, space: Space, captions: Sequence[str]) -> None:
        size = encoding_chunks(device_of(encoder))[1]
        with Writer(space, self.kept_dtype) as writer:
            for start in range(0, len(captions), size):
                chunk = captions[start : start + size]
                for caption, states in zip(chunk, encode_captions(encoder, chunk, self.dtype), strict=True):
                    writer.add(caption_key(caption), torch.cat([states.tokens.flatten(), states.pooled]))
                self._done("encoding captions", start + len(chunk), len(captions))

    # --------------------------------------------------------------------------------------------------------- latents

    def latents(self, vae: VAE, reader: PictureReader, indices: Sequence[int]) -> LatentCache:
        """The cache of these samples, mirrored too where the data is; those that it lacks are encoded now.

        Raises InputError for a picture that cannot be read, unless the data skips such, and Stopped.
        """
        flips = (False, True) if reader.common.random_flip else (False,)
        spaces = [Space.of(self.root, "latents", self._latent_settings(vae, reader.common, flip)) for flip in flips]
        with spaces[0].building(self._waiting), FileDigests(self.root / "files.sqlite") as files:
            known: dict[int, Content] = {}
            bad: dict[int, str] = {}
            left = list(indices)
            for _ in range(_ROUNDS):
                self._look(reader.contents(left, files), len(left), known, bad, reader.common)
                left = self._encode_missing(vae, reader, spaces, list(known.values()), bad)
                if not left:
                    break
        if left:
            raise InputError(
                f"{reader.dataset[left[0]].image} changes while it is read, and so do {len(left) - 1} others"
            )
        return self._latent_cache(vae, reader.common, spaces, known, bad)

    def _latent_settings(self, vae: VAE, common: DatasetCommon, flip: bool) -> dict[str, Any]:
        pixels = {
            "preprocessing": PREPROCESSING_VERSION,
            "decoder": decoder(),
            "image_size": common.image_size,
            "alpha_background": common.alpha_background,
            "crop": common.crop,
        }
        return {**self._settings(vae), **pixels, "mirrored": flip}

    def _encode_missing(
        self, vae: VAE, reader: PictureReader, spaces: list[Space], contents: list[Content], bad: dict[int, str]
    ) -> list[int]:
        """Encode what the spaces lack. Returns the samples that changed before they could be read."""
        records = [Records.open(space) for space in spaces]
        lacking = _lacking(records, contents)
        count = sum(len(flips) for _, flips in lacking)
        self._check_space(count * self._latent_bytes(vae, reader.common))
        changed: list[int] = []
        writers = [Writer(space, self.kept_dtype) for space in spaces]
        try:
            work = self._pictures(reader, lacking, bad, changed)
            for done, (key, flip, values) in enumerate(self._encoded(vae, work), start=1):
                writers[flip].add(key, values)
                self._done("encoding pictures", done, count)
        finally:
            for writer in writers:
                writer.flush()
        return changed

    def _pictures(
        self,
        reader: PictureReader,
        lacking: Sequence[tuple[Content, tuple[int, ...]]],
        bad: dict[int, str],
        changed: list[int],
    ) -> Iterator[tuple[bytes, int, np.ndarray[Any, Any]]]:
        """Key, mirrored or not, and pixels of what is to be encoded."""
        flips_of = {content.index: flips for content, flips in lacking}
        for content, pixels in reader.pixels(content for content, _ in lacking):
            if pixels is None:
                changed.append(content.index)
            elif isinstance(pixels, InputError):
                _refuse(reader.common, content.index, pixels, bad)
            else:
                for flip in flips_of[content.index]:
                    yield content.key, flip, pixels[:, ::-1] if flip else pixels

    def _encoded(
        self, vae: VAE, work: Iterator[tuple[bytes, int, np.ndarray[Any, Any]]]
    ) -> Iterator[tuple[bytes, int, Tensor]]:
        device = device_of(vae)
        size = encoding_chunks(device)[0]
        while chunk := [item for _, item in zip(range(size), work, strict=False)]:
            images = torch.from_numpy(np.stack([pixels for _, _, pixels in chunk])).to(device)
            mean, spread = encode_latents(vae, images, self.dtype)
            both = mean[:, None] if spread is None else torch.stack([mean, spread], dim=1)
            yield from ((key, flip, values) for (key, flip, _), values in zip(chunk, both.cpu(), strict=True))

    def _latent_bytes(self, vae: VAE, common: DatasetCommon) -> int:
        return 2 * vae.latent_channels * (common.image_size // vae.factor) ** 2 * self.kept_dtype.itemsize

    def _latent_cache(
        self, vae: VAE, common: DatasetCommon, spaces: list[Space], known: Mapping[int, Content], bad: dict[int, str]
    ) -> LatentCache:
        indices = sorted({*known, *bad})
        keys = [known[index].key if index in known else bytes(32) for index in indices]
        unreadable = {known[index].key: reason for index, reason in bad.items() if index in known}
        records = tuple(Records.open(space) for space in spaces)
        side = common.image_size // vae.factor
        return LatentCache(
            records=records,
            indices=np.array(indices, dtype=np.int64),
            places=tuple(each.find(keys) for each in records),
            bad=bad | {index: unreadable[key] for index, key in zip(indices, keys, strict=True) if key in unreadable},
            shape=(vae.latent_channels, side, side),
            dtype=self.kept_dtype,
        )

    # ---------------------------------------------------------------------------------------------------------- common

    def _look(
        self,
        found: Iterable[Content | tuple[int, InputError]],
        count: int,
        known: dict[int, Content],
        bad: dict[int, str],
        common: DatasetCommon,
    ) -> None:
        for done, each in enumerate(found, start=1):
            if isinstance(each, Content):
                known[each.index] = each
            else:
                _refuse(common, *each, bad)
            if done % _LOOKED_AT == 0 or done == count:
                self._done("looking at pictures", done, count)

    def _settings(self, encoder: Any) -> dict[str, Any]:
        return {
            "encoder": encoder.fingerprint(),
            "encoding": ENCODING_VERSION,
            "precision": str(self.kept_dtype).removeprefix("torch."),
            "device": device_of(encoder).type,
        }

    def _check_space(self, wanted: int) -> None:
        """Raises InputError when the disk has no room for so many bytes."""
        free = shutil.disk_usage(self.root).free
        if wanted * 1.05 > free:
            raise InputError(
                f"the cache needs {_gigabytes(wanted)} more and {self.root} has {_gigabytes(free)} free; "
                "set cache.dir to a larger disk, cache.mode: off, or remove old parts with `dit-run cache gc`"
            )

    def _waiting(self) -> None:
        self.notice("another process builds the same part of the cache; waiting for it")

    def _done(self, phase: str, done: int, total: int) -> None:
        self.progress(phase, done, total)
        if self.stopped():
            raise Stopped(f"stopped while {phase} ({done} of {total}); what was made is kept")


def forecast(
    *, pictures: int, captions: int, latent_values: int, width: int, pooled_width: int, dtype: torch.dtype | None
) -> int:
    """Bytes of a cache: ``latent_values`` is c·h·w, doubled here for mean and deviation; mirrored pictures count."""
    size = (dtype or torch.float32).itemsize
    return size * (pictures * 2 * latent_values + captions * (_TYPICAL_TOKENS * width + pooled_width))


def _refuse(common: DatasetCommon, index: int, error: InputError, bad: dict[int, str]) -> None:
    """Note a picture that cannot be read, or stop where the data does not skip such."""
    if common.on_bad_sample == "error":
        raise InputError(
            f"{error}\nMend or remove it, or set data.on_bad_sample: skip to leave such samples out"
        ) from error
    bad[index] = str(error)


def _lacking(records: Sequence[Records], contents: Sequence[Content]) -> list[tuple[Content, tuple[int, ...]]]:
    """Contents that some of these lack, each once, with the numbers of those."""
    distinct = list({content.key: content for content in contents}.values())
    places = [each.find([content.key for content in distinct]) for each in records]
    pairs = [
        (content, tuple(number for number, found in enumerate(places) if found[row] < 0))
        for row, content in enumerate(distinct)
    ]
    return [(content, numbers) for content, numbers in pairs if numbers]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
