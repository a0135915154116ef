"""The commit protocol: a folder of files appears whole or not at all, and damage in it is always noticed.

The files are written to a folder beside, each is synced, ``MANIFEST.json`` with the size and SHA-256 of each and a
digest of itself follows, the folder is synced and renamed, and the parent is synced. A process killed, or a machine
losing power, at any point leaves no folder of that name or a whole one; what is left of an unfinished one has a name
of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_run.problems import DitRunError
from dit_run.system.durable import make_folder, sync_file, sync_folder

__all__ = ["MANIFEST", "Damage", "SaveFailed", "check_space", "clean", "commit", "remove", "verify"]

MANIFEST = "MANIFEST.json"
_FORMAT = 1
_PARTIAL = ".partial"
_REMOVED = ".removed"


class SaveFailed(DitRunError):
    """Something could not be written: the disk is full or failing. What was there before is untouched."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file of a committed folder."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def commit(folder: Path, write: Callable[[Path], None], *, needed: int = 0) -> None:
    """Make ``folder`` with the files that ``write`` puts into the folder it is given. One writer at a time.

    ``needed`` is about how many bytes that takes; less free space is an error before anything is written. A folder
    that is there already is replaced: the caller has found it damaged. Raises SaveFailed and leaves nothing behind.
    """
    beside = _beside(folder, _PARTIAL)
    try:
        make_folder(folder.parent)
        clean(folder.parent)
        check_space(folder.parent, needed)
        beside.mkdir()
        write(beside)
        _seal(beside)
        if folder.exists():
            folder.rename(_beside(folder, _REMOVED))
        beside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise SaveFailed(f"{folder} could not be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(_beside(folder, _REMOVED), ignore_errors=True)


def verify(folder: Path) -> list[Damage]:
    """What is damaged in a committed folder, every byte of it read; empty where it is whole."""
    try:
        files = _read_manifest(folder)
        if files is None:
            return [Damage(MANIFEST, "does not match its own digest")]
        unknown = sorted(path.name for path in folder.iterdir() if path.name not in files and path.name[0] != ".")
    except FileNotFoundError:
        return [Damage(MANIFEST, "is missing")]
    except OSError as error:
        return [Damage(MANIFEST, f"cannot be read: {_reason(error)}")]
    damages = [Damage(name, "is not in the manifest") for name in unknown if name != MANIFEST]
    examined = (_examine(folder / name, entry) for name, entry in files.items())
    return damages + [damage for damage in examined if damage is not None]


def remove(folder: Path) -> None:
    """Remove a committed folder: first its name, so that a crash leaves no half of it. Raises OSError."""
    hidden = _beside(folder, _REMOVED)
    folder.rename(hidden)
    sync_folder(folder.parent)
    shutil.rmtree(hidden)


def clean(parent: Path) -> None:
    """Remove what writers that died left in a folder; only its one writer may call this. Raises OSError."""
    for path in parent.iterdir():
        if path.name.startswith(".") and path.name.endswith((_PARTIAL, _REMOVED)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def check_space(folder: Path, needed: int) -> None:
    """Raises SaveFailed where the disk of ``folder`` has less than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SaveFailed(f"{folder} needs {_size(needed)} and its disk has {_size(free)} free; make room there")


def _seal(folder: Path) -> None:
    """Sync every file, add the manifest, sync the folder."""
    files = {}
    for path in sorted(folder.iterdir()):
        sync_file(path)
        files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    (folder / MANIFEST).write_bytes(_manifest_bytes(files))
    sync_file(folder / MANIFEST)
    sync_folder(folder)


def _manifest_bytes(files: dict[str, Any]) -> bytes:
    """The only spelling of a manifest that is accepted, so that a change of any byte of it shows."""
    content = {"files": files, "format": _FORMAT}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, sort_keys=True, indent=1).encode() + b"\n"


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Its files; None where any byte of it is not as it was written."""
    raw = (folder / MANIFEST).read_bytes()
    try:
        files: dict[str, dict[str, Any]] = json.loads(raw)["files"]
        intact = _manifest_bytes(files) == raw and all(_plain_name(name) for name in files)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return files if intact else None


def _plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _examine(path: Path, entry: dict[str, Any]) -> Damage | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Damage(path.name, "is no regular file")
        if status.st_size != entry["size"]:
            return Damage(path.name, f"has {status.st_size} bytes, {entry['size']} were written")
        if _sha256(path) != entry["sha256"]:
            return Damage(path.name, "does not match its checksum")
    except FileNotFoundError:
        return Damage(path.name, "is missing")
    except OSError as error:
        return Damage(path.name, f"cannot be read: {_reason(error)}")
    return None


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}{ending}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
