"""The files of one network's weights: one file, or the shards that an index names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dit_run.digests import combined, file_digest
from dit_run.hub.tensor_files import read_tensors
from dit_run.problems import InputError
from dit_run.system.json_files import read_object

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DIFFUSERS",
    "TRANSFORMERS",
    "Library",
    "Located",
    "WeightFiles",
    "defer",
    "deferred_weights",
    "weight_candidates",
]

VARIANTS = ("fp16", "bf16")
"""Variants in lower precision, which repositories have next to the full precision or instead of it."""


class Library(NamedTuple):
    """File names of a library's weights, without suffix."""

    safetensors: str
    checkpoint: str


DIFFUSERS = Library("diffusion_pytorch_model", "diffusion_pytorch_model")
TRANSFORMERS = Library("model", "pytorch_model")


def weight_candidates(library: Library) -> Iterator[str]:
    """Yield the file names under which a library saves weights, the preferred first."""
    for stem, suffix in ((library.safetensors, "safetensors"), (library.checkpoint, "bin")):
        yield f"{stem}.{suffix}"
        yield f"{stem}.{suffix}.index.json"
        for variant in VARIANTS:
            yield f"{stem}.{variant}.{suffix}"
            yield f"{stem}.{suffix}.index.{variant}.json"


class Located(NamedTuple):
    """The place of weights: a file, or an index and the file of each tensor by name."""

    file: Path
    """The file, or the index of the shards."""
    shards: Mapping[str, Path] = {}

    @classmethod
    def of_index(cls, key: str, index: Path, find: Callable[[str], Path]) -> Located:
        """Return the place of the weights of an index; ``find`` returns the path of a shard by its file name.

        ``key`` begins errors. Raises InputError for an index without usable names, and as ``find`` does.
        """
        try:
            names = read_object(index).get("weight_map")
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
        if not isinstance(names, dict) or not names or not all(_plain(shard) for shard in names.values()):
            raise InputError(f"{key}: {index} is no index of shards: its weight_map should name a file for each tensor")
        files = {shard: find(shard) for shard in sorted(set(names.values()))}
        return cls(index, {name: files[shard] for name, shard in names.items()})


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one network, whose files are located at their first use, and downloaded if they are on a hub."""

    key: str
    """The config key that names them, for errors."""
    locate: Callable[[], Located]

    @classmethod
    def of_file(cls, key: str, file: Path) -> WeightFiles:
        """Return the weights of a single file."""
        return cls(key, partial(Located, file))

    @cached_property
    def located(self) -> Located:
        """The place of the weights. Raises InputError if they are missing or not available."""
        return self.locate()

    def fetch(self) -> None:
        """Locate the weights now, and download what is not on this machine. Raises InputError."""
        _ = self.located

    @property
    def file(self) -> Path:
        """The file, or the index of the shards."""
        return self.located.file

    @property
    def shards(self) -> Mapping[str, Path]:
        """The file of each tensor by name; empty for a single file."""
        return self.located.shards

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold tensors."""
        return tuple(sorted(set(self.shards.values()))) or (self.file,)

    @property
    def variant(self) -> str | None:
        """``fp16`` or ``bf16`` where the weights are a variant in lower precision."""
        return next((variant for variant in VARIANTS if f".{variant}." in self.file.name), None)

    @property
    def is_safetensors(self) -> bool:
        return self.files[0].suffix == ".safetensors"

    def tensors(self, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        """Return the tensors whose names ``keep`` accepts; shards without such a tensor are not read.

        Raises InputError as :func:`dit_run.hub.read_tensors`, with the config key.
        """
        wanted = {path for name, path in self.shards.items() if keep(name)} if self.shards else {self.file}
        found: dict[str, Tensor] = {}
        for path in sorted(wanted):
            try:
                found |= read_tensors(path, keep)
            except InputError as error:
                raise InputError(f"{self.key}: {error}") from error
        return found

    def digest(self) -> str:
        """Return the hex SHA-256 of a single file, or a digest of all shards."""
        if not self.shards:
            return file_digest(self.file)
        return combined([[path.name, file_digest(path)] for path in self.files])


def _plain(shard: object) -> bool:
    """Return True for the name of a file in the folder of the index."""
    return isinstance(shard, str) and bool(shard) and Path(shard).name == shard


_DEFERRED: ContextVar[list[WeightFiles] | None] = ContextVar("deferred weights", default=None)


@contextlib.contextmanager
def deferred_weights() -> Iterator[list[WeightFiles]]:
    """Collect the weights on a hub that are asked for inside the context, without a look-up or download of them.

    Parts get their shapes from small config files, so they can be refused before large files are downloaded.
    """
    found: list[WeightFiles] = []
    token = _DEFERRED.set(found)
    try:
        yield found
    finally:
        _DEFERRED.reset(token)


def defer(files: WeightFiles) -> bool:
    """Add weights to those that are located later; return False outside :func:`deferred_weights`."""
    found = _DEFERRED.get()
    if found is not None:
        found.append(files)
    return found is not None
