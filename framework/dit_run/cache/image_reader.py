"""Pictures for the cache: which content each sample shows, and its pixels, read in this or in other processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dit_run.cache.file_digests import FileDigests, file_state
from dit_run.data.images import read_image
from dit_run.digests import Stat
from dit_run.problems import DitRunError, InputError
from dit_run.protocols import Dataset
from dit_run.registry.fault_attribution import translate_plugin_fault
from dit_run.registry.kinds import DatasetCommon
from dit_run.system.signals import ignore_signals, kill_children, timeout_seconds

__all__ = ["Content", "PictureReader", "Pixels", "ReadingFailed"]

Pixels = NDArray[np.uint8]
In = TypeVar("In")
Out = TypeVar("Out")

_AHEAD = 4
_MEND = (
    "The same command goes on with what is not kept yet; with fewer cache.num_workers it takes less memory, and with 0 "
    "pictures are read in this process"
)


class ReadingFailed(DitRunError):
    """A reading process was killed, or answers no more."""


@dataclass(frozen=True)
class Content:
    """What a sample showed when it was looked at."""

    index: int
    """Its index in the dataset."""
    key: bytes
    """SHA-256 of the picture's file or, where it is drawn, of its pixels."""
    state: Stat | None
    """Of the file; None where the picture is drawn."""


@dataclass
class PictureReader:
    """Reads the pictures of a dataset in ``workers`` processes, or in this one at 0."""

    dataset: Dataset
    common: DatasetCommon
    workers: int = 0
    first: object = None
    """Sent to each process before the dataset: unpickling it may import what the dataset needs."""
    waiting: Callable[[], None] = lambda: None
    """Called about once a second while a process lets this one wait; may raise."""
    _pool: Executor | None = None
    _others: set[BaseProcess] = field(default_factory=set)

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            if error is not None:
                kill_children(self._others)  # one that is frozen would be waited for
            self._pool.shutdown(cancel_futures=True)

    def contents(self, indices: Sequence[int], files: FileDigests) -> Iterator[Content | tuple[int, InputError]]:
        """The content of each of these samples, or why it has none, in any order."""
        paths: list[tuple[int, Path]] = []
        drawn: list[int] = []
        for index in indices:
            image = self.dataset[index].image
            if isinstance(image, Path):
                paths.append((index, image))
            else:
                drawn.append(index)
        for (index, path), found in zip(paths, files.digests([path for _, path in paths]), strict=True):
            yield _why(index, path, self.common) if isinstance(found, OSError) else Content(index, found[1], found[0])
        for index, pixels in zip(drawn, self._map(_read, drawn), strict=True):
            yield (index, pixels) if isinstance(pixels, InputError) else Content(index, _drawn_key(pixels), None)

    def pixels(self, contents: Iterable[Content]) -> Iterator[tuple[Content, Pixels | InputError | None]]:
        """uint8 [size, size, 3] of each, in order; None where the file is not any more what it was."""
        kept = list(contents)
        yield from zip(kept, self._map(_read_unchanged, kept), strict=True)

    def refusal(self, index: int) -> str | None:
        """Why a sample cannot be read, found out in this process; None where it can."""
        pixels = _read(_Source(self.dataset, self.common), index)
        return str(pixels) if isinstance(pixels, InputError) else None

    def _map(self, work: Callable[[_Source, In], Out], items: Sequence[In]) -> Iterator[Out]:
        if self.workers == 0 or len(items) < 2:
            source = _Source(self.dataset, self.common)
            return (work(source, item) for item in items)
        return self._spread(work, items)

    def _spread(self, work: Callable[[_Source, In], Out], items: Sequence[In]) -> Iterator[Out]:
        """In order, with only so many results waiting."""
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            source = _Source(self.dataset, self.common)
            self._others = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_begin, initargs=(self.first, source)
            )
        rest = iter(items)
        submit = self._pool.submit
        try:
            waiting = deque(submit(_work, work, item) for item in islice(rest, _AHEAD * self.workers))
            while waiting:
                result = self._result(waiting.popleft())
                waiting.extend(submit(_work, work, item) for item in islice(rest, 1))
                yield result
        except BrokenProcessPool as error:
            self.waiting()
            raise ReadingFailed(
                f"a process that reads pictures for the cache ended, perhaps killed for want of memory. {_MEND}"
            ) from error

    def _result(self, future: Future[Out]) -> Out:
        """Waits for it, but not for ever: a frozen process says nothing."""
        seconds = timeout_seconds()
        since = time.monotonic()
        while True:
            try:
                return future.result(timeout=min(seconds, 1.0))
            except TimeoutError as error:
                if future.done():
                    return future.result()
                self.waiting()
                if time.monotonic() - since > seconds:
                    raise ReadingFailed(
                        f"no process that reads pictures for the cache answered for {seconds:g} seconds. {_MEND}"
                    ) from error


class _Source(NamedTuple):
    dataset: Dataset
    common: DatasetCommon


_source: _Source | None = None


def _begin(first: object, source: _Source) -> None:
    global _source
    ignore_signals()
    _source = source


def _work(work: Callable[[_Source, In], Out], item: In) -> Out:
    assert _source is not None
    with translate_plugin_fault():
        return work(_source, item)


def _read(source: _Source, index: int) -> Pixels | InputError:
    common = source.common
    try:
        image = source.dataset[index].image
        return np.ascontiguousarray(read_image(image, common.image_size, background=common.alpha_background))
    except InputError as error:
        return error


def _read_unchanged(source: _Source, content: Content) -> Pixels | InputError | None:
    pixels = _read(source, content.index)
    image = source.dataset[content.index].image
    if isinstance(image, Path):
        return pixels if file_state(image.absolute()) == content.state else None
    if isinstance(pixels, InputError):
        return pixels
    return pixels if _drawn_key(pixels) == content.key else None


def _drawn_key(pixels: Pixels) -> bytes:
    return hashlib.sha256(b"drawn" + pixels.tobytes()).digest()


def _why(index: int, path: Path, common: DatasetCommon) -> tuple[int, InputError]:
    """A file without content, in the words of the one who reads it."""
    try:
        read_image(path, common.image_size)
    except InputError as error:
        return index, error
    return index, InputError(f"cannot read the image {path}: it changes while it is read")
