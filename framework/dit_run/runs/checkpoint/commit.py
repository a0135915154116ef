"""The commit protocol: a folder of files is complete or absent, and any damage is detected.

The files are written to a temporary folder and synced. ``MANIFEST.json`` follows, with the size and SHA-256 of each
file and a digest of itself. Then the folder is synced and renamed, and its parent is synced. If the process is killed
or the machine loses power at any point, the folder is absent or complete; the remains of an unfinished one have a
different name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dit_run.problems import DitRunError, InputError
from dit_run.system.durable import make_folder, sync_file, sync_folder
from dit_run.system.units import size_text

__all__ = [
    "MANIFEST",
    "Damage",
    "Entry",
    "SaveFailed",
    "Uncommitted",
    "clean",
    "commit",
    "committed_files",
    "committing",
    "entry_of",
    "find_damage",
    "remove",
]

MANIFEST = "MANIFEST.json"
_FORMAT, _FORMAT_OF_PARTS = 1, 2
"""Formats of a folder: files of one writer, and files of several. Release 0.1 reads the first one only."""
_PARTIAL = ".partial"
_REMOVED = ".removed"


class SaveFailed(DitRunError):
    """A folder could not be written because the disk is full or failing. Existing folders are unchanged."""


@dataclass(frozen=True)
class Damage:
    """Damage of one file in a committed folder."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


Entry = dict[str, Any]
"""Size and SHA-256 of a file, as the manifest has them."""


@dataclass
class Uncommitted:
    """A folder that is being written."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    """Files that other processes wrote and synced: see :func:`entry_of`."""


def commit(folder: Path, write: Callable[[Path], object], *, needed: int = 0) -> None:
    """Create ``folder`` with the files that ``write`` puts into the folder it gets: see :func:`committing`."""
    with committing(folder, needed=needed) as uncommitted:
        write(uncommitted.path)


@contextlib.contextmanager
def committing(folder: Path, *, needed: int = 0) -> Iterator[Uncommitted]:
    """Create ``folder`` with the files that are in another one at the end of the context. Allows one caller at a time.

    ``needed`` is the approximate size in bytes; if less space is free, nothing is written. An existing folder is
    replaced: the caller has found it damaged. Raises SaveFailed, and leaves nothing behind.
    """
    partial = _temporary(folder, _PARTIAL)
    try:
        make_folder(folder.parent)
        clean(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if free < needed:
            raise SaveFailed(
                f"{folder.parent} needs {size_text(needed)} and its disk has {size_text(free)} free; free space there"
            )
        partial.mkdir()
        uncommitted = Uncommitted(partial)
        yield uncommitted
        _seal(partial, uncommitted.entries)
        if folder.exists():
            folder.rename(_temporary(folder, _REMOVED))
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise SaveFailed(f"{folder} could not be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(_temporary(folder, _REMOVED), ignore_errors=True)


def entry_of(path: Path) -> Entry:
    """Sync a file and return its entry in the manifest. Raises OSError."""
    sync_file(path)
    return {"size": path.stat().st_size, "sha256": _sha256(path)}


def find_damage(folder: Path, only: Collection[str] | None = None, *, share: tuple[int, int] = (0, 1)) -> list[Damage]:
    """Return the damages of a committed folder after reading every byte; empty if it is complete.

    ``only`` names the files that matter to the caller; no other one is read or missed. ``share`` is the number of the
    caller and the number of all callers, each of which reads some of the files.
    """
    try:
        files = _read_manifest(folder)
        if files is None:
            return [Damage(MANIFEST, "does not match its own digest")]
        if only is not None:
            return _damages(folder, {name: files.get(name) for name in sorted(only)})
        unknown = sorted(path.name for path in folder.iterdir() if path.name not in files and path.name[0] != ".")
    except FileNotFoundError:
        return [Damage(MANIFEST, "is missing")]
    except OSError as error:
        return [Damage(MANIFEST, f"cannot be read: {_reason(error)}")]
    damages = [Damage(name, "is not in the manifest") for name in unknown if name != MANIFEST]
    return damages + _damages(folder, _share_of(files, *share))


def _share_of(files: Mapping[str, Entry], number: int, count: int) -> dict[str, Entry]:
    """Return the files that one of several callers reads: about as many bytes as each other one."""
    large_first = sorted(files, key=lambda name: -files[name]["size"])
    chosen = set(large_first[number::count])
    return {name: entry for name, entry in files.items() if name in chosen}


def committed_files(folder: Path) -> frozenset[str]:
    """Return the names of the files that a folder was committed with; none where its manifest cannot be read."""
    try:
        return frozenset(_read_manifest(folder) or {})
    except OSError:
        return frozenset()


def remove(folder: Path) -> None:
    """Remove a committed folder. It is renamed first, so that a crash leaves no half of it. Raises OSError."""
    hidden = _temporary(folder, _REMOVED)
    folder.rename(hidden)
    sync_folder(folder.parent)
    shutil.rmtree(hidden)


def clean(parent: Path) -> None:
    """Remove what interrupted writers left in a folder; only its single writer may call this. Raises OSError."""
    for path in parent.iterdir():
        if path.name.startswith(".") and path.name.endswith((_PARTIAL, _REMOVED)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _seal(folder: Path, known: Mapping[str, Entry]) -> None:
    """Sync every file that is not known yet, add the manifest, and sync the folder."""
    files = {path.name: known.get(path.name) or entry_of(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_bytes(_manifest_bytes(files, _FORMAT_OF_PARTS if known else _FORMAT))
    sync_file(folder / MANIFEST)
    sync_folder(folder)


def _manifest_bytes(files: dict[str, Any], version: int = _FORMAT) -> bytes:
    """Return the bytes of a manifest. Only this form is accepted, so a change of any byte is detected."""
    content = {"files": files, "format": version}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, sort_keys=True, indent=1).encode() + b"\n"


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return the files in the manifest; None if any of its bytes has changed.

    Raises InputError for a later format.
    """
    raw = (folder / MANIFEST).read_bytes()
    try:
        content = json.loads(raw)
        version, files = int(content["format"]), dict(content["files"])
        intact = _manifest_bytes(files, version) == raw and all(_plain_name(name) for name in files)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if intact and version > _FORMAT_OF_PARTS:
        raise InputError(
            f"{folder} has format {version}, and this version of dit-run reads formats up to {_FORMAT_OF_PARTS}: "
            "install the version of dit-run that wrote it, or a later one"
        )
    return files if intact else None


def _damages(folder: Path, files: Mapping[str, dict[str, Any] | None]) -> list[Damage]:
    """Return the damages of files, given with their entries in the manifest, None for a file that has none."""
    examined = (
        Damage(name, "is not in the manifest") if entry is None else _examine(folder / name, entry)
        for name, entry in files.items()
    )
    return [damage for damage in examined if damage is not None]


def _plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _examine(path: Path, entry: dict[str, Any]) -> Damage | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Damage(path.name, "is not a regular file")
        if status.st_size != entry["size"]:
            return Damage(path.name, f"has {status.st_size} bytes, {entry['size']} were written")
        if _sha256(path) != entry["sha256"]:
            return Damage(path.name, "does not match its checksum")
    except FileNotFoundError:
        return Damage(path.name, "is missing")
    except OSError as error:
        return Damage(path.name, f"cannot be read: {_reason(error)}")
    return None


def _temporary(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}{ending}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
