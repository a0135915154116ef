"""The commit protocol: a folder that is whole and verifiable, or not there.

Files are written into a temporary folder beside the target and synced; a manifest with their sizes and checksums, and
a digest of itself, is written last; then the folder is renamed into place and its parent synced. A process killed, or
a machine losing power, at any point leaves the target absent or whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.durable import make_folder, sync_file, sync_folder
from dit_run.problems import DitRunError

__all__ = ["MANIFEST", "Damage", "SaveFailed", "clean", "commit", "remove", "verify"]

MANIFEST = "MANIFEST.json"
_TEMPORARY = ".tmp-"
_REMOVED = ".old-"


class SaveFailed(DitRunError):
    """A folder could not be committed: the disk is full or failing. What was there before is untouched."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file of a committed folder."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def commit(folder: Path, write: Callable[[Path], None], *, needed: int = 0) -> None:
    """Make ``folder`` with the files that ``write(temporary folder)`` puts there.

    ``needed`` is about how many bytes that takes, checked against the free space first. Raises SaveFailed, leaving
    nothing behind, when writing fails; FileExistsError when the folder is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}-{os.getpid()}")
    try:
        make_folder(folder.parent)
        _check_space(folder.parent, needed)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write(temporary)
        _seal(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise SaveFailed(f"{folder} could not be saved: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"it needs {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir())
    for path in files:
        sync_file(path)
    entries = {path.name: {"size": path.stat().st_size, "sha256": _digest(path)} for path in files}
    manifest = folder / MANIFEST
    with manifest.open("w", encoding="utf-8") as file:
        json.dump({"files": entries, "digest": _own_digest(entries)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def verify(folder: Path) -> list[Damage]:
    """What is damaged in a committed folder; empty when every byte is as it was written."""
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        entries: dict[str, Any] = manifest["files"]
        if manifest["digest"] != _own_digest(entries) or raw != _rendered(entries):
            return [Damage(MANIFEST, "does not match its own digest")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Damage(MANIFEST, f"cannot be read: {type(error).__name__}")]
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    damages = [Damage(name, "is not in the manifest") for name in sorted(present - set(entries))]
    return damages + [damage for name in sorted(entries) if (damage := _damage(folder / name, entries[name]))]


def _damage(path: Path, entry: dict[str, Any]) -> Damage | None:
    if not path.is_file():
        return Damage(path.name, "is missing")
    if path.stat().st_size != entry["size"]:
        return Damage(path.name, f"has {path.stat().st_size} bytes, {entry['size']} were written")
    if _digest(path) != entry["sha256"]:
        return Damage(path.name, "does not match its checksum")
    return None


def _rendered(entries: dict[str, Any]) -> bytes:
    return json.dumps({"files": entries, "digest": _own_digest(entries)}, indent=1).encode()


def _own_digest(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(folder: Path) -> None:
    """Take a committed folder away: renamed first, so that a half removed one is never taken for whole."""
    trash = folder.with_name(f"{_REMOVED}{folder.name}-{os.getpid()}")
    shutil.rmtree(trash, ignore_errors=True)
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def clean(parent: Path) -> None:
    """Remove what killed writers left: temporary and half removed folders. Only the owner of the folder calls it."""
    if parent.is_dir():
        for path in parent.iterdir():
            if path.name.startswith((_TEMPORARY, _REMOVED)):
                shutil.rmtree(path, ignore_errors=True)
