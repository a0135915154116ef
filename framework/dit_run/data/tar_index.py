"""Index of tar shards in the WebDataset layout: which samples they hold, and where the bytes of each image lie.

Members with the same name up to the first dot of their last part are one sample: ``0001.jpg`` and ``0001.txt``. A shard
is read once, in order; afterwards each image is read alone, at its place in the shard. The index of a shard is kept by
its path, size and times, so that an interrupted build continues, and a changed shard is read again.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dit_run.data.caption_weights import Caption, weighted
from dit_run.data.formats import SUFFIXES
from dit_run.data.texts import Texts
from dit_run.digests import cache_home, combined, file_stat
from dit_run.problems import InputError
from dit_run.system.durable import make_folder, write_atomic

__all__ = ["TarIndex", "index_tars"]

_VERSION = 2
_CAPTION_KEYS = ("captions", "caption", "text", "prompt")
"""Keys of a sample's ``.json`` that hold its caption, or a list of them; the first that exists is used."""


@dataclass(frozen=True, eq=False)
class TarIndex:
    """The images of some shards that have captions, in their order in the shards."""

    names: Texts
    """Name of each image in its shard."""
    offsets: NDArray[np.int64]
    """Place of the bytes of each image in its shard."""
    sizes: NDArray[np.int64]
    """Number of these bytes."""
    captions: Texts
    weights: NDArray[np.float64]
    """Weight of each caption."""
    starts: NDArray[np.int64]
    """Number of the first caption of each image, then the number of captions."""
    without_caption: Texts
    """Names of images without a caption."""
    without_image: Texts
    """Names of captions without an image."""

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def joined(cls, parts: Sequence[TarIndex]) -> TarIndex:
        """Return the index of all images of the parts."""
        firsts = np.cumsum([0, *(len(part.captions) for part in parts)]).tolist()
        starts = [part.starts[:-1] + first for part, first in zip(parts, firsts, strict=False)]
        return cls(
            names=Texts.joined([part.names for part in parts]),
            offsets=np.concatenate([part.offsets for part in parts]),
            sizes=np.concatenate([part.sizes for part in parts]),
            captions=Texts.joined([part.captions for part in parts]),
            weights=np.concatenate([part.weights for part in parts]),
            starts=np.concatenate([*starts, np.array(firsts[-1:], dtype=np.int64)]),
            without_caption=Texts.joined([part.without_caption for part in parts]),
            without_image=Texts.joined([part.without_image for part in parts]),
        )


class _Member(NamedTuple):
    """A file in a shard."""

    name: str
    offset: int
    size: int
    content: bytes
    """Bytes of a caption; empty for other members."""

    @property
    def stem(self) -> str:
        folder, slash, name = self.name.rpartition("/")
        return folder + slash + name.partition(".")[0]


@dataclass
class _Found:
    """Contents of a shard."""

    images: list[_Member] = field(default_factory=list)
    captions: list[Sequence[Caption]] = field(default_factory=list)
    without_caption: list[str] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)

    def index(self) -> TarIndex:
        return TarIndex(
            names=Texts.of(image.name for image in self.images),
            offsets=np.array([image.offset for image in self.images], dtype=np.int64),
            sizes=np.array([image.size for image in self.images], dtype=np.int64),
            captions=Texts.of(caption.text for own in self.captions for caption in own),
            weights=np.array([caption.weight for own in self.captions for caption in own], dtype=np.float64),
            starts=np.cumsum([0, *(len(own) for own in self.captions)], dtype=np.int64),
            without_caption=Texts.of(self.without_caption),
            without_image=Texts.of(self.without_image),
        )


def index_tars(shards: Sequence[Path], *, whole: bool = False) -> list[TarIndex]:
    """Return the index of each shard, from the cache where the shard did not change.

    ``whole`` takes a ``.txt`` member as one caption; else each of its lines is one. Raises InputError, naming shard and
    member, for a shard that is missing, no tar archive or cut short, and for a caption that is no text.
    """
    return [_remembered(shard, whole) for shard in shards]


def _remembered(shard: Path, whole: bool) -> TarIndex:
    try:
        stat = file_stat(shard)
    except OSError as error:
        raise InputError(f"cannot read the shard {shard}: {error.strerror}") from error
    home = cache_home()
    if home is None:
        return _index(shard, whole)
    digest = combined([_VERSION, str(shard.absolute()), list(stat), whole])
    file = home / "indexes" / f"{digest[:32]}.npz"
    known = _load(file)
    if known is None:
        known = _index(shard, whole)
        with contextlib.suppress(OSError):  # the next start reads the shard again
            make_folder(file.parent)
            write_atomic(file, _stored(known))
    return known


def _stored(index: TarIndex) -> bytes:
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in vars(index).items():
        if isinstance(value, Texts):
            arrays |= {f"{name}.content": value.content, f"{name}.ends": value.ends}
        else:
            arrays[name] = value
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _load(file: Path) -> TarIndex | None:
    """Return a stored index; None if there is none, or it is broken."""
    try:
        with np.load(file) as arrays:
            return TarIndex(
                names=_texts(arrays, "names"),
                offsets=arrays["offsets"],
                sizes=arrays["sizes"],
                captions=_texts(arrays, "captions"),
                weights=arrays["weights"],
                starts=arrays["starts"],
                without_caption=_texts(arrays, "without_caption"),
                without_image=_texts(arrays, "without_image"),
            )
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _texts(arrays: Mapping[str, Any], name: str) -> Texts:
    return Texts(arrays[f"{name}.content"], arrays[f"{name}.ends"])


def _index(shard: Path, whole: bool) -> TarIndex:
    found = _Found()
    for stem, group in groupby(_members(shard), key=lambda member: member.stem):
        members = list(group)
        images = [member for member in members if member.name.lower().endswith(SUFFIXES)]
        captions = [caption for member in members for caption in _captions(shard, member, whole)]
        if images and captions:
            found.images.append(images[0])
            found.captions.append(captions)
        elif images:
            found.without_caption.append(f"{shard}: {images[0].name}")
        elif captions:
            found.without_image.append(f"{shard}: {stem}")
    return found.index()


def _members(shard: Path) -> Iterator[_Member]:
    """Yield the files of a shard, in order, with the bytes of those that hold captions."""
    last = "its start"
    try:
        with tarfile.open(shard, "r:") as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                if not entry.isfile() or Path(entry.name).name.startswith("."):
                    continue
                content = b""
                if entry.name.lower().endswith((".txt", ".json")):
                    opened = archive.extractfile(entry)
                    content = b"" if opened is None else opened.read()
                    if len(content) != entry.size:
                        raise tarfile.ReadError("unexpected end of data")
                last = entry.name
                yield _Member(entry.name, entry.offset_data, entry.size, content)
            _check_end(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"cannot read the shard {shard} after {last}: {error}; it is damaged, cut short or no plain tar archive"
        ) from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ReadError for an archive without its last block of zeros, at which tarfile stops without a word."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the end of the archive is missing")


def _captions(shard: Path, member: _Member, whole: bool) -> list[Caption]:
    """Return the captions in a member; none for a member of another kind."""
    try:
        if member.name.lower().endswith(".txt"):
            return [Caption(text) for text in _of_text(member.content.decode("utf-8-sig"), whole)]
        if member.name.lower().endswith(".json"):
            return _of_json(json.loads(member.content))
    except ValueError as error:
        raise InputError(f"{shard}: {member.name} holds no caption: {error}") from error
    return []


def _of_text(text: str, whole: bool) -> list[str]:
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    return [" ".join(lines)] if whole and lines else lines


def _of_json(content: Any) -> list[Caption]:
    """Return the captions of a sample's metadata, which may have none. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError(f"expected an object with one of the keys {', '.join(_CAPTION_KEYS)}")
    value: Any = next((content[key] for key in _CAPTION_KEYS if content.get(key) is not None), [])
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ValueError(f"expected a text or a list of texts, not {value!r}")
    joined = [Caption(" ".join(caption.text.split()), caption.weight) for caption in weighted(captions, content)]
    return [caption for caption in joined if caption.text]
