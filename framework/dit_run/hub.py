"""Pretrained weights by name: a model hub's name or a local path to files on this machine.

``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` have the meaning that huggingface_hub gives them.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_run.problems import InputError
from dit_run.tensors import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MOVED", "Pretrained", "hub_name", "local_path"]

MOVED: Mapping[str, str] = {"runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
"""Names that left the hub, and where the same weights are now."""

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def local_path(name: str) -> Path | None:
    """The file or folder that ``name`` is, if there is one: what exists here is never asked of a hub."""
    path = os.path.expanduser(name)  # noqa: PTH111 (pathlib's raises for a user that is not)
    return Path(path) if os.path.exists(path) else None  # noqa: PTH110 (pathlib raises for a name too long)


@functools.cache
def hub_name(name: str) -> str:
    """The name under which a hub has these weights today; a moved one is told once."""
    if name in MOVED:
        import logging

        logging.getLogger("dit_run").warning("%s left the hub; its mirror %s is used instead", name, MOVED[name])
    return MOVED.get(name, name)


@dataclass(frozen=True)
class Pretrained:
    """Weights that a config names, and the files they are made of."""

    name: str
    """A hub's ``owner/name``, or a local file or folder."""
    key: str
    """The config key that holds the name, for errors: ``vae.pretrained_model_name``."""
    revision: str | None = None
    """A branch, tag or commit of the hub's repository; a local path has none."""

    def need(self, *candidates: str) -> Path:
        """The first of these files that there is, their paths relative to the repository or folder.

        What the hub's cache on this machine has is taken from there, without asking the hub. Raises InputError when
        the weights cannot be had, or have none of the files.
        """
        local = local_path(self.name)
        if local is not None:
            found = next((local / each for each in candidates if (local / each).is_file()), None)
        else:
            self._check_name()
            found = self._first(candidates, cached=True) or self._first(candidates, cached=False)
        if found is None:
            raise self.error(f"has no {' and no '.join(candidates)}")
        return found

    def object(self, *candidates: str) -> dict[str, Any]:
        """The content of the first of these JSON files. Raises InputError also when it is not a JSON object."""
        path = self.need(*candidates)
        try:
            return _read_object(path)
        except ValueError as error:
            raise self.error(f"has a broken {path.name}: {error}") from error

    def local_object(self, *candidates: str) -> dict[str, Any] | None:
        """The same where the weights are a local folder, else None. For rules: what is broken or missing is None too,
        and is reported where the file is needed."""
        local = local_path(self.name)
        for path in () if local is None else (local / each for each in candidates):
            try:
                return _read_object(path)
            except (OSError, ValueError):
                continue
        return None

    def tensors(self, file: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
        """The tensors of one of its files, by :func:`read_tensors`; its InputError names the key, too."""
        try:
            return read_tensors(file, keep)
        except InputError as error:
            raise InputError(f"{self.key}: {error}") from error

    def error(self, what: str) -> InputError:
        """An InputError about these weights; ``what`` continues the sentence "{key}: {name} ..."."""
        return InputError(f"{self.key}: {self.name} {what}")

    def _check_name(self) -> None:
        if not _HUB_NAME.fullmatch(self.name) or self.name.startswith("."):
            raise self.error("is neither a file or folder that exists nor a hub's owner/name; correct the path")

    def _first(self, candidates: Sequence[str], *, cached: bool) -> Path | None:
        paths = (self._download(file, cached=cached) for file in candidates)
        return next((path for path in paths if path is not None), None)

    def _download(self, file: str, *, cached: bool) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        name = hub_name(self.name)
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
            f"cannot be had from the hub{at}: {reason}\n"
            f"Run `hf download {name}` where there is a network and keep HF_HOME ({_cache_folder()}), "
            f"or set {self.key} to a local folder that has the weights."
        )


def _read_object(path: Path) -> dict[str, Any]:
    """Raises ValueError when the file holds anything but a JSON object."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object was expected, not {type(content).__name__}")
    return content


def _cache_folder() -> str:
    from huggingface_hub.constants import HF_HOME

    return str(HF_HOME)
