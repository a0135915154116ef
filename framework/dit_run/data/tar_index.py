"""Index of tar shards in the WebDataset layout: which samples they hold, and where the bytes of each image lie.

Members with the same name up to the first dot of their last part are one sample: ``0001.jpg`` and ``0001.txt``. A shard
is read once, in order; afterwards each image is read alone, at its place in the shard. The index of a shard is kept by
its path, size and times, so that an interrupted build continues, and a changed shard is read again. A kept index is
mapped into memory: opening it costs the same for any number of samples.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dit_run.data.caption_weights import Caption
from dit_run.data.column_files import Columns
from dit_run.data.dimensions import UNKNOWN, size_in
from dit_run.data.formats import SUFFIXES
from dit_run.data.packed_captions import PackedCaptions
from dit_run.data.scalar_columns import ScalarTable, completed, no_scalars
from dit_run.data.tar_captions import CAPTION_SUFFIXES, captions_in, scalars_of_json
from dit_run.data.tar_members import DamagedTar, Member, TarMembers
from dit_run.data.texts import Texts
from dit_run.problems import InputError

__all__ = ["INDEX_VERSION", "TarIndex", "index_tar"]

INDEX_VERSION = 3
"""Version of the content of an index; part of the name under which it is kept."""
_START = 3072
"""First bytes of an image that are read with its header."""
_MOST_MEASURED = 64 * 2**20
"""Size of the largest image that is read to measure it (bytes); larger ones are measured when they are needed."""


class TarIndex:
    """The images of a shard that have captions, in their order in the shard. Picklable, cheap where it is kept."""

    def __init__(self, columns: Columns, scalars: Sequence[str] = ()) -> None:
        self.columns: Columns = columns
        self.scalars: ScalarTable | None = _scalar_table(columns, tuple(scalars))
        """Numbers of each image that were read."""
        self.names: Texts = Texts.stored(columns, "names")
        """Name of each image in its shard."""
        self.offsets: NDArray[np.int64] = columns["offsets"]
        """Place of the bytes of each image in its shard."""
        self.sizes: NDArray[np.int64] = columns["sizes"]
        """Number of these bytes."""
        self.captions: PackedCaptions = PackedCaptions(
            Texts.stored(columns, "captions"), columns["weights"], columns["starts"]
        )
        self.without_caption: Texts = Texts.stored(columns, "without_caption")
        """Names of images without a caption."""
        self.without_image: Texts = Texts.stored(columns, "without_image")
        """Names of captions without an image."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __reduce__(self) -> tuple[Any, tuple[Columns, tuple[str, ...]]]:
        return TarIndex, (self.columns, () if self.scalars is None else self.scalars.names)

    @property
    def dimensions(self) -> NDArray[np.int32]:
        """Height and width of each upright image, [n, 2]; 0 where they could not be read."""
        return self.columns["dimensions"].reshape(-1, 2)


@dataclass
class _Found:
    """Columns of an index that grow while a shard is read."""

    names: list[str] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    dimensions: array[int] = field(default_factory=lambda: array("i"))
    captions: list[list[Caption]] = field(default_factory=list)
    scalars: array[float] = field(default_factory=lambda: array("d"))
    without_caption: list[str] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)

    def columns(self) -> Columns:
        captions = PackedCaptions.of(self.captions)
        return Columns(
            {
                **Texts.of(self.names).packed("names"),
                "offsets": np.array(self.offsets, dtype=np.int64),
                "sizes": np.array(self.sizes, dtype=np.int64),
                "dimensions": np.array(self.dimensions, dtype=np.int32),
                **captions.texts.packed("captions"),
                "weights": captions.weights,
                "starts": captions.starts,
                "scalars": np.array(self.scalars, dtype=np.float64),
                **Texts.of(self.without_caption).packed("without_caption"),
                **Texts.of(self.without_image).packed("without_image"),
            }
        )


def index_tar(open_shard: Callable[[], BinaryIO], name: str, *, whole: bool, scalars: Sequence[str] = ()) -> TarIndex:
    """Read a shard and return its index; ``name`` names it in messages.

    ``whole`` takes a ``.txt`` member as one caption; else each of its lines is one. ``scalars`` are names of numbers
    that are read from ``.json`` members. Raises InputError, naming shard and member, for a shard that is missing, no
    tar archive or cut short, for a caption that is no text, and for a scalar that is no number.
    """
    last = "its start"
    try:
        with open_shard() as file:
            members = TarMembers(file.fileno(), os.fstat(file.fileno()).st_size)
            try:
                return TarIndex(_found(members, name, whole, tuple(scalars)).columns(), scalars)
            finally:
                last = members.last
    except (DamagedTar, OSError) as error:
        raise InputError(
            f"cannot read the shard {name} after {last}: {error}; it is damaged, cut short or no plain tar archive"
        ) from error


def _found(members: TarMembers, shard: str, whole: bool, scalars: tuple[str, ...]) -> _Found:
    found = _Found()
    for stem, (image, dimensions, captions, numbers) in _samples(members, shard, whole, scalars):
        if image is not None and captions:
            found.names.append(image.name)
            found.offsets.append(image.offset)
            found.sizes.append(image.size)
            found.dimensions.extend(dimensions)
            found.captions.append(captions)
            found.scalars.extend(numbers)
        elif image is not None:
            found.without_caption.append(f"{shard}: {image.name}")
        elif captions:
            found.without_image.append(f"{shard}: {stem}")
    return found


_Sample = tuple[Member | None, tuple[int, int], list[Caption], tuple[float, ...]]


def _samples(members: TarMembers, shard: str, whole: bool, scalars: tuple[str, ...]) -> Iterator[tuple[str, _Sample]]:
    """Yield the stem, and the first image with its dimensions, all captions and scalars, of members of one sample."""
    for stem, group in groupby(members, key=_stem):
        image, dimensions, captions, numbers = None, UNKNOWN, list[Caption](), no_scalars(scalars)
        for member in group:
            kind = member.name.lower()
            if _is_hidden(member.name):
                continue
            if kind.endswith(CAPTION_SUFFIXES):
                captions += _captions(members, shard, member, whole)
                if scalars and kind.endswith(".json"):
                    content = members.read(member.offset, member.size)
                    where = f"{shard}: {member.name}"
                    numbers = completed(numbers, scalars_of_json(content, scalars, where), scalars, where)
            elif image is None and kind.endswith(SUFFIXES):
                image, dimensions = member, _dimensions(members, member)
        yield stem, (image, dimensions, captions, numbers)


def _captions(members: TarMembers, shard: str, member: Member, whole: bool) -> list[Caption]:
    try:
        return captions_in(member.name, members.read(member.offset, member.size), whole=whole)
    except ValueError as error:
        raise InputError(f"{shard}: {member.name} holds no caption: {error}") from error


def _dimensions(members: TarMembers, image: Member) -> tuple[int, int]:
    if image.size > _MOST_MEASURED:
        return UNKNOWN
    start = members.read(image.offset, min(image.size, _START))
    return size_in(start, lambda: members.read(image.offset, image.size))


def _stem(member: Member) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _scalar_table(columns: Columns, names: tuple[str, ...]) -> ScalarTable | None:
    return ScalarTable(names, columns["scalars"].reshape(-1, len(names))) if names else None
