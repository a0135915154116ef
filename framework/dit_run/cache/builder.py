"""The builder of a cache: folder, precision, disk space, progress, and requests to stop."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from dit_run.cache.locks import building, hold, looking
from dit_run.cache.space import Space
from dit_run.cache.team import Team
from dit_run.compute.shared_work import SharedWork
from dit_run.model.codec import ENCODING_VERSION, device_of
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import ImageEncoder, TextEncoder
from dit_run.system.units import size_text

__all__ = ["CACHE_PATIENCE", "Build", "Stopped", "cache_bytes"]

CACHE_PATIENCE = 2.0
"""Time after a signal to stop in which a builder keeps its records and ends by itself (seconds)."""
_LARGE = 10**8
_BUSY = "another process builds the same part of the cache"

T = TypeVar("T")

Progress = Callable[[str, int, int], None]


class Stopped(DitRunError):
    """A stop was requested while the cache was built; finished records are kept."""


@dataclass(frozen=True)
class Build:
    """Fill spaces below ``root`` with outputs of encoders, each on its device, in the precision ``dtype``.

    All processes of a run call the same methods in the same order.
    """

    root: Path
    dtype: torch.dtype | None
    """Dtype of autocast; None is float32."""
    progress: Progress = lambda name, done, total: None
    """Called with the name of a phase, the number of finished items and their total."""
    notice: Callable[[str], None] = lambda text: None
    stopped: Callable[[], bool] = lambda: False
    shared: SharedWork = field(default_factory=SharedWork)
    """Work of all processes of the run."""
    team: Team = field(default_factory=Team)
    """The processes that fill this folder together."""
    _locked: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)
    """Folders of the spaces that this build, or the first of its team, has locked."""

    @property
    def stored_dtype(self) -> torch.dtype:
        """Dtype of stored values. Encoding rounds to it, so nothing is lost."""
        return self.dtype or torch.float32

    def space(self, kind: str, encoder: TextEncoder | ImageEncoder, code: str, settings: Mapping[str, Any]) -> Space:
        """Return the space for an encoder and its settings, and use it until this process ends.

        ``code`` is the digest of the plugin's code, so that a changed plugin encodes again. It is empty for a built-in
        encoder, whose fingerprint has a version: caches outlive releases that leave the encoder as it is.

        Raises Stopped on a request to stop while another process cleans the space.
        """
        common = {
            "encoder": encoder.fingerprint(),
            "encoding": ENCODING_VERSION,
            "precision": str(self.stored_dtype).removeprefix("torch."),
            "device": device_of(encoder).type,
            **({"code": code} if code else {}),
        }
        while True:
            space = Space.of(self.root, kind, {**common, **settings})
            if hold(space.folder, partial(self._wait, "`dit-run cache gc` is running")):
                return space

    @contextlib.contextmanager
    def alone(self, space: Space) -> Iterator[None]:
        """Lock the space against other builders. Raises Stopped on a request to stop while another one works.

        Without locks in the file system all of them build, which is safe but slow. Two parts of a mixture may lock one
        space together.
        """
        with self._first_locked(space, partial(building, space.folder, partial(self._wait, _BUSY))):
            yield

    @contextlib.contextmanager
    def looking(self, space: Space) -> Iterator[bool]:
        """Lock the space to look for what is missing: see :func:`dit_run.cache.locks.looking`.

        Raises Stopped on a request to stop while another process builds.
        """
        with self._first_locked(space, partial(looking, space.folder, partial(self._wait, _BUSY))) as alone:
            yield alone is not False

    @contextlib.contextmanager
    def _first_locked(
        self, space: Space, lock: Callable[[], contextlib.AbstractContextManager[bool | None]]
    ) -> Iterator[bool | None]:
        """Lock a space in the first process of each team; yield False in all if one of them shares the lock."""
        if space.folder in self._locked:
            yield None
            return
        with contextlib.ExitStack() as stack:
            alone = False not in self.shared.each(lambda: stack.enter_context(lock()) if self.team.leads else None)
            if alone:
                self._locked.add(space.folder)
            try:
                yield alone
            finally:
                self._locked.discard(space.folder)

    def together(self, phase: str, work: Callable[[], T]) -> list[T]:
        """Call ``work`` in all processes and return their values by rank: see :meth:`SharedWork.each`."""
        return self.shared.each(work, partial(self.progress, phase))

    def by_leader(self, work: Callable[[], T]) -> T:
        """Return the value of the first process of the team in all of them: what it finds holds for all."""
        value = self.team.values(self.shared.each(lambda: work() if self.team.leads else None))[0]
        return cast(T, value)

    def any(self, flag: bool) -> bool:
        """Return True if the flag is set in any process."""
        return any(self.shared.each(lambda: flag))

    def check_room(self, *, latents: int, states: int) -> None:
        """Raise InputError if the disk has less space than latents and caption states take (bytes).

        Reports a large growth.
        """
        free, wanted = shutil.disk_usage(self.root).free, latents + states
        parts = f" (latents {size_text(latents)}, text states {size_text(states)})" if latents and states else ""
        if wanted * 1.05 > free:
            smaller = ", cache.text_dtype: fp8 or cache.max_tokens" if states > latents else ""
            raise InputError(
                f"the cache needs {size_text(wanted)}{parts} more and {self.root} has {size_text(free)} free; set "
                f"cache.dir to a larger disk, cache.mode: off{smaller}, or remove old parts with `dit-run cache gc`"
            )
        if wanted >= _LARGE:
            self.notice(
                f"the cache in {self.root} grows by about {size_text(wanted)}{parts}; {size_text(free)} are free"
            )

    def done(self, phase: str, done: int, total: int) -> None:
        """Report progress, in :meth:`together`. Raises Stopped on a request to stop."""
        self.shared.advance(done, total)
        if self.stopped():
            raise Stopped(f"stopped while {phase} ({done} of {total}); finished records are kept")

    def check_stopped(self) -> None:
        """Raise Stopped on a request to stop, for use while no item finishes."""
        if self.stopped():
            raise Stopped("stopped while waiting for images to be read; finished records are kept")

    def _wait(self, why: str, tries: int) -> None:
        if tries == 1:
            self.notice(f"{why}; waiting for it")
        self.shared.wait_longer()
        if self.stopped():
            raise Stopped(f"stopped while waiting: {why}")


def cache_bytes(
    dtype: torch.dtype | None,
    *,
    images: int = 0,
    latent_values: int = 0,
    captions: int = 0,
    tokens: float = 0.0,
    width: int = 0,
    pooled_width: int = 0,
) -> int:
    """Return the size of a cache (bytes).

    ``latent_values`` is c·h·w; mean and deviation double it. ``images`` includes mirrored ones. ``tokens`` is the mean
    length of a caption with start and end token.
    """
    size = (dtype or torch.float32).itemsize
    return round(size * (images * 2 * latent_values + captions * (tokens * width + pooled_width)))
