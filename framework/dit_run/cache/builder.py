"""What building the cache has in common: where it goes, in which precision, whether there is room, when to stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dit_run.cache.space import Space
from dit_run.model.codec import ENCODING_VERSION, device_of
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import VAE, TextEncoder
from dit_run.system.units import size_text

__all__ = ["Build", "Stopped", "forecast"]

_LARGE = 10**8

Progress = Callable[[str, int, int], None]


class Stopped(DitRunError):
    """Asked to stop while the cache was built; what was made is kept."""


@dataclass(frozen=True)
class Build:
    """Fills spaces below ``root`` with what encoders make, each on its device, in the precision ``dtype``."""

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

    def space(self, kind: str, encoder: TextEncoder | VAE, settings: Mapping[str, Any]) -> Space:
        """Where an encoder's output goes: apart by all that decides it. It is in use until this process ends. Raises
        Stopped when asked to stop while another cleans it."""
        common = {
            "encoder": encoder.fingerprint(),
            "encoding": ENCODING_VERSION,
            "precision": str(self.kept_dtype).removeprefix("torch."),
            "device": device_of(encoder).type,
        }
        while True:
            space = Space.of(self.root, kind, {**common, **settings})
            if space.hold(partial(self._wait, "`dit-run cache gc` is at work")):
                return space

    def alone(self, space: Space) -> AbstractContextManager[None]:
        """While no other builder works on the space. Raises Stopped when asked to stop while another does."""
        return space.building(partial(self._wait, "another process builds the same part of the cache"))

    def check_room(self, wanted: int) -> None:
        """Raises InputError when the disk has no room for so many bytes; tells of what is large."""
        free = shutil.disk_usage(self.root).free
        if wanted * 1.05 > free:
            raise InputError(
                f"the cache needs {size_text(wanted)} more and {self.root} has {size_text(free)} free; "
                "set cache.dir to a larger disk, cache.mode: off, or remove old parts with `dit-run cache gc`"
            )
        if wanted >= _LARGE:
            self.notice(f"the cache in {self.root} grows by about {size_text(wanted)}; {size_text(free)} are free")

    def done(self, phase: str, done: int, total: int) -> None:
        """Report; raises Stopped when asked to stop."""
        self.progress(phase, done, total)
        if self.stopped():
            raise Stopped(f"stopped while {phase} ({done} of {total}); what was made is kept")

    def check_stopped(self) -> None:
        """Raises Stopped when asked to stop, for where nothing gets done."""
        if self.stopped():
            raise Stopped("stopped while waiting for pictures to be read; what was made is kept")

    def _wait(self, why: str, tries: int) -> None:
        if tries == 1:
            self.notice(f"{why}; waiting for it")
        if self.stopped():
            raise Stopped(f"stopped while waiting: {why}")


def forecast(
    *,
    pictures: int,
    captions: int,
    latent_values: int,
    width: int,
    pooled_width: int,
    dtype: torch.dtype | None,
    tokens: float,
) -> int:
    """Bytes of a cache: ``latent_values`` is c·h·w, doubled here for mean and deviation; mirrored pictures count.
    ``tokens`` is the mean number of a caption, its markers included."""
    size = (dtype or torch.float32).itemsize
    return round(size * (pictures * 2 * latent_values + captions * (tokens * width + pooled_width)))
