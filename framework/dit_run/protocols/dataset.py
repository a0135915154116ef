"""Datasets: sequences of samples, each an image with its captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from dit_run.system.file_ranges import FilePart, FileRange

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from dit_run.registry.kind_options import DatasetCommon

__all__ = [
    "Dataset",
    "DatasetPart",
    "FilePart",
    "FileRange",
    "Identified",
    "IdentifiedImages",
    "LeavesOut",
    "LeftOut",
    "Measured",
    "Mixed",
    "Recognised",
    "Recognises",
    "Sample",
    "Sharded",
]


@dataclass(frozen=True)
class Sample:
    """An image with all its captions. Cheap to make: the image is decoded only when a run needs it."""

    key: str
    """Name of the sample, unique in the dataset and the same on every machine: it decides order, split and
    ``num_samples``."""
    captions: tuple[str, ...]
    """Captions, at least one; each visit of the sample uses one of them."""
    image: Path | FilePart | Callable[[], Image.Image]
    """A file, a part of a file, or a picklable function that returns the image, of any size and mode.

    The core decodes, rotates by EXIF, converts to sRGB by the embedded ICC profile, composites alpha, crops, resizes
    and normalises the image. It calls the function, or reads the file or its part, once per visit. A function may raise
    InputError for a broken image; ``data.on_bad_sample`` decides what happens then."""
    weights: tuple[float, ...] = ()
    """Weight of each caption, above 0: its share of the visits in the long run is its share of their sum. Empty: all
    captions are used equally often."""
    scalars: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Finite numbers by name, such as a score. Every sample of a run needs those that its model takes."""


@dataclass(frozen=True)
class LeftOut:
    """Images, captions or other parts of the data that a dataset does not use, for one reason."""

    reason: str
    """Noun phrase in the singular: ``image without a caption``."""
    count: int
    example: str
    """An example of them, such as the path of a file."""
    images: tuple[Path | FilePart, ...] = ()
    """Some of them that are images, to be shown by ``dit-run data``; optional."""


@runtime_checkable
class LeavesOut(Protocol):
    """A dataset that reports what it left out of its samples; optional."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Parts that were left out, one entry per reason; a run and ``dit-run check`` list it when they start."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A dataset that knows the size of its images; optional. The headers of others are read for buckets."""

    def image_sizes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return height and width of the upright images of samples, int64 [n, 2]; 0 for those that are not known."""
        ...


@runtime_checkable
class Identified(Protocol):
    """A dataset that names its content; optional. What follows from its samples is then kept for the next start."""

    @property
    def identity(self) -> str | None:
        """Digest of everything that decides keys, captions, weights and scalars, in their order; None: not known."""
        ...

    def keys(self) -> Iterable[str]:
        """Return the keys of all samples, in their order."""
        ...


@runtime_checkable
class IdentifiedImages(Protocol):
    """A dataset that names the content of its images; optional. No image is then looked at while nothing changes."""

    @property
    def images_identity(self) -> str | None:
        """Digest that is another one after any change of the images: of their bytes, order or number; None: not known.

        Sizes of images, and the places of their latents in the cache, are kept by it: a digest that stays the same
        while an image changes gives wrong latents. The state of the files that hold them (size, times, inode) is enough
        if no file was written in the last two seconds.
        """
        ...


@runtime_checkable
class Sharded(Protocol):
    """A dataset whose samples lie in files, one file after the other; optional. ``data.shuffle_window`` needs it."""

    @property
    def shard_starts(self) -> NDArray[np.int64]:
        """Index of the first sample of each shard, then the number of samples."""
        ...


@dataclass(frozen=True)
class DatasetPart:
    """A dataset that is a part of a mixture."""

    name: str
    """Unique in the mixture; keys of the mixture's samples are ``name/key``."""
    dataset: Dataset
    weight: float
    """Above 0: its share of the visits is its share of the sum of all weights."""
    common: DatasetCommon
    """The common options of its samples: captions, sizes, augmentation, ``num_samples`` and ``train_split``."""


@runtime_checkable
class Mixed(Protocol):
    """A dataset that is made of others; optional. Its samples are those of the parts, one part after the other.

    A run visits the parts in exact shares by their weights. Each part keeps its common options and its own split.
    """

    @property
    def mixed_parts(self) -> Sequence[DatasetPart]: ...


class Recognised(NamedTuple):
    """The options with which a dataset type reads some data."""

    options: Mapping[str, Any]
    """Keys of ``data`` with their values, at least the path."""
    reason: str
    """Noun phrase that tells the layout: ``tar shards``."""
    general: bool = False
    """True for a layout that counts only where no other type recognises the data."""


@runtime_checkable
class Recognises(Protocol):
    """An options class of a dataset that recognises data of its layout; optional, for ``dit-run init``."""

    @classmethod
    def recognise(cls, place: str) -> Recognised | None:
        """Return the options for a path, a pattern of files, or a name on the Hub; None for another layout.

        It looks at names of files and little else.
        """
        ...


class Dataset(Protocol):
    """``build(options, *, image_size, on_bad_sample, scalars, shard_cache) -> Dataset``: samples.

    ``image_size`` (int) is the side in pixels of the square images that the run trains on. With ``on_bad_sample``
    "skip", the value of ``data.on_bad_sample``, a dataset leaves out an image whose file or caption is missing; with
    "error" the factory raises InputError. It should report what it leaves out, see :class:`LeavesOut`. ``scalars`` are
    the names of the numbers that the run's model takes: a dataset that reads tables gives each sample those it has.
    ``shard_cache`` (:class:`dit_run.data.shard_cache.ShardCache`) holds local copies of remote files.

    A dataset is picklable, because it is sent to data-loading workers, and has the same samples in the same order every
    time it is built. A run reads all items when it starts, because their keys decide the split, so an item must be
    cheap. The factory raises InputError
    for a missing path or a broken index, naming the file.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...
