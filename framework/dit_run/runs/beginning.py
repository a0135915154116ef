"""The beginning of the run in a folder: by which kind of command, and from which other run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dit_run.problems import InputError
from dit_run.runs.run_folder import RunFolder
from dit_run.system.json_files import read_object

__all__ = ["forked_from", "holds_run", "was_begun_fresh"]


def holds_run(folder: RunFolder) -> bool:
    """Return True if a run was begun in the folder."""
    return folder.provenance.exists() or (folder.checkpoints.is_dir() and any(folder.checkpoints.glob("step-*")))


def was_begun_fresh(folder: RunFolder) -> bool:
    """Return True if the run in the folder was begun with ``--fresh``."""
    words = _provenance(folder).get("arguments")
    return isinstance(words, list) and any(str(word).partition("=")[0] == "--fresh" for word in words)


def forked_from(folder: RunFolder) -> str | None:
    """Return the id of the run that the run in the folder is a fork of; None for one that began at step 0."""
    origin = _provenance(folder).get("forked_from")
    return origin.get("run_id") if isinstance(origin, dict) else None


def _provenance(folder: RunFolder) -> Mapping[str, Any]:
    """Return the provenance, empty if there is none that can be read."""
    with suppress(InputError):
        return read_object(folder.provenance)
    return {}
