"""Pretrained weights by name: a model hub's name or a local path to files on this machine.

``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` have the meaning that huggingface_hub gives them."""

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

if TYPE_CHECKING:
    from torch import Tensor
import pickle
from typing import TYPE_CHECKING

__all__ = ["MOVED", "Pretrained", "hub_name", "local_path", "read_tensors"]

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


def read_tensors(path: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, whose names ``keep`` accepts; from safetensors only those are read.

    ``.safetensors`` files are read as such, all others as torch checkpoints with ``weights_only=True``; a checkpoint
    that nests them in ``state_dict`` is opened up. Raises InputError naming the file when it is damaged or holds more
    than tensors and plain values.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path, keep)
    return {name: value for name, value in _read_pickle(path).items() if keep(name)}


def _read_safetensors(path: Path, keep: Callable[[str], bool]) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if keep(name)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file that can be read: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, because it is damaged or holds more than tensors, which could run code: "
            f"{str(error).splitlines()[0]}\nConvert it to safetensors where you trust it."
        ) from error
    except Exception as error:  # bytes that are no pickle make its machine fail in any way
        raise InputError(f"{path}: no checkpoint that can be read: {error or type(error).__name__}") from error
    nested = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(nested, dict):
        raise InputError(f"{path}: a checkpoint of named tensors was expected, not {type(content).__name__}")
    return {name: value for name, value in nested.items() if isinstance(value, torch.Tensor)}
