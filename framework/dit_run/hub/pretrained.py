"""Pretrained weights by name: the files behind a model hub's name or a local path.

``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` have the meaning that huggingface_hub gives them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dit_run.hub.names import hub_name, local_path, on_hub
from dit_run.hub.tensor_files import read_tensors
from dit_run.hub.weight_files import Library, Located, WeightFiles, defer, weight_candidates
from dit_run.problems import InputError
from dit_run.system.json_files import read_object
from dit_run.system.lfs_pointers import LFS_TEXT, is_lfs_pointer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Pretrained", "RecordedFile", "recorded_files"]


class RecordedFile(NamedTuple):
    """A file of pretrained weights that was looked up."""

    name: str
    """The repository or folder."""
    file: str
    """The file in it."""
    path: Path


_RECORDS: ContextVar[list[RecordedFile] | None] = ContextVar("recorded files", default=None)


@contextlib.contextmanager
def recorded_files() -> Iterator[list[RecordedFile]]:
    """Collect the files of pretrained weights that are found inside the context: what a copy of the weights needs."""
    records: list[RecordedFile] = []
    token = _RECORDS.set(records)
    try:
        yield records
    finally:
        _RECORDS.reset(token)


_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Pretrained:
    """Weights that a config names, and their files."""

    name: str
    """A hub's ``owner/name``, or a local file or folder."""
    key: str
    """The config key that holds the name, for errors: ``vae.pretrained_model_name``."""
    revision: str | None = None
    """A branch, tag or commit of the hub's repository; without effect for a local path."""

    def need(self, *candidates: str) -> Path:
        """Return the first of these files that exists; the candidates are relative to the repository or folder.

        A file in the hub's cache on this machine is used without asking the hub. Raises InputError if the weights are
        not available, have none of the files, or have a Git LFS pointer in its place.
        """
        found = self.find(*candidates)
        if found is None:
            raise self.error(f"has no {' and no '.join(candidates)}")
        return found

    def find(self, *candidates: str) -> Path | None:
        """Return the first of these files that exists, or None. As :meth:`need` in everything else."""
        return self._found(candidates, cached=True) or self._found(candidates, cached=False)

    def fetch(self, *candidates: str) -> None:
        """Download those of these files that the hub has, next to the others; without effect where it is out of reach.

        For files that a library reads if they are there. The hub is not asked for a file that it did not have before.
        """
        missing = [each for each in candidates if self._found([each], cached=True) is None]
        if not on_hub(self.name):
            return
        with contextlib.suppress(InputError):  # a hub that is out of reach for the first file is so for all
            for each in missing:
                if not self._known_absent(each):
                    self._found([each], cached=False)

    def weight_files(self, library: Library, folders: Iterable[str] = ("",)) -> WeightFiles:
        """Return the weights of one network as ``library`` saves them, from the first of the folders that has them.

        A folder is ``""`` for the top, or ``"vae/"``. Weights in full precision are preferred to the variants fp16 and
        bf16, and safetensors to pickled checkpoints. Inside :func:`deferred_weights` those on a hub are located later.
        Raises InputError if there are none, or if a shard that an index names is missing.
        """
        files = WeightFiles(self.key, partial(self._located, library, list(folders)))
        if not (on_hub(self.name) and defer(files)):
            files.fetch()
        return files

    def _located(self, library: Library, folders: Sequence[str]) -> Located:
        names = list(weight_candidates(library))
        for cached, folder in itertools.product((True, False), folders):  # no hub is asked for what is on this machine
            file = self._found([folder + name for name in names], cached=cached)
            if file is not None and file.suffix == ".json":
                return Located.of_index(self.key, file, partial(self._shard, file.name, folder))
            if file is not None:
                return Located(file)
        places = " or ".join(folder or "its top folder" for folder in folders)
        raise self.error(f"has no weights in {places}: no {names[0]}, no variant, index of shards or .bin of it")

    def object(self, *candidates: str) -> dict[str, Any]:
        """Return the content of the first of these JSON files that exists.

        Raises InputError, also for a file that is not a JSON object.
        """
        path = self.need(*candidates)
        try:
            return read_object(path)
        except InputError as error:
            raise InputError(f"{self.key}: {error}") from error

    def local_object(self, *candidates: str) -> dict[str, Any] | None:
        """Return the content of the first of these JSON files that is readable in a local folder, or None.

        For rules: a broken or missing file is reported later, where it is needed.
        """
        local = local_path(self.name)
        for path in () if local is None else (local / each for each in candidates):
            try:
                return read_object(path)
            except InputError:
                continue
        return None

    def cached_object(self, *candidates: str) -> dict[str, Any] | None:
        """Return the content of the first of these JSON files in a hub's cache on this machine, or None.

        For rules, which ask no hub.
        """
        with contextlib.suppress(InputError):
            path = self._found(candidates, cached=True)
            return None if path is None else read_object(path)
        return None

    def tensors(self, file: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        """Return the tensors of one of its files. As :func:`read_tensors`, with the config key in the error."""
        try:
            return read_tensors(file, keep)
        except InputError as error:
            raise InputError(f"{self.key}: {error}") from error

    def error(self, what: str) -> InputError:
        """Return an InputError about these weights; ``what`` continues the sentence "{key}: {name} ..."."""
        return InputError(f"{self.key}: {self.name} {what}")

    def _check_name(self) -> None:
        if not _HUB_NAME.fullmatch(self.name) or self.name.startswith("."):
            raise self.error("is neither an existing file or folder nor a hub's owner/name; correct the path")

    def _shard(self, index: str, folder: str, shard: str) -> Path:
        """Return the shard that an index in the same folder names."""
        found = self.find(folder + shard)
        if found is None:
            raise self.error(
                f"has no {folder}{shard}, which {index} names; download it again, or copy the missing file into it"
            )
        return found

    def _found(self, candidates: Sequence[str], *, cached: bool) -> Path | None:
        """Return the first of these files in a local folder, or on a hub; ``cached``: in its cache on this machine."""
        local = local_path(self.name)
        paths: Iterator[tuple[str, Path | None]]
        if local is not None:
            paths = ((each, local / each) for each in candidates if (local / each).is_file())
        else:
            self._check_name()
            paths = ((each, self._download(each, cached=cached)) for each in candidates)
        file, found = next(((file, path) for file, path in paths if path is not None), ("", None))
        if found is not None and is_lfs_pointer(found):
            raise self.error(f"is incomplete: {found} is {LFS_TEXT}")
        records = _RECORDS.get()
        if found is not None and records is not None:
            records.append(RecordedFile(self.name, file, found))
        return found

    def _known_absent(self, file: str) -> bool:
        """Return True for a file that the hub did not have in the revision on this machine."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        known = try_to_load_from_cache(hub_name(self.name), file, cache_dir=_files_folder(), revision=self.revision)
        return known is _CACHED_NO_EXIST

    def _download(self, file: str, *, cached: bool) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        name = hub_name(self.name)
        if not Path(_files_folder()).is_absolute():  # huggingface_hub would make a folder called ~ here
            raise self.error(
                f"cannot be looked up: HOME is not set, and user {os.getuid()} has no home folder. Set HF_HOME to the "
                f"folder of the hub's files, or {self.key} to a local folder with the weights"
            )
        try:
            return Path(hf_hub_download(name, file, revision=self.revision, local_files_only=cached))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError) and not cached:
                raise self._unavailable(name, error) from error
            return None
        except (OSError, ValueError) as error:
            raise self._unavailable(name, error) from error

    def _unavailable(self, name: str, error: Exception) -> InputError:
        reason = str(error).strip().splitlines()[0]
        at = f" at revision {self.revision}" if self.revision else ""
        return self.error(
            f"is not available from the hub{at}: {reason}\n"
            f"Run `hf download {name}` on a machine with a network and keep HF_HOME ({_cache_folder()}), "
            f"or set {self.key} to a local folder with the weights."
        )


def _files_folder() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)


def _cache_folder() -> str:
    from huggingface_hub.constants import HF_HOME

    return str(HF_HOME)
