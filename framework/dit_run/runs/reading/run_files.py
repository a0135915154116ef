"""The files of a run folder, for readers that trust nothing in it: links that lead out of a root are not followed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

__all__ = ["RunFiles"]

_LARGEST = 16 * 2**20
"""Largest JSON or YAML file that is read (bytes)."""
_SIGNS = ("status.json", "provenance.json")
"""Files by which a run folder is known."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class RunFiles:
    """A run folder under a root; both are real paths, without links."""

    root: Path
    path: Path

    @property
    def name(self) -> str:
        """The path below the root, or the folder's own name where it is the root."""
        return self.path.name if self.path == self.root else str(self.path.relative_to(self.root))

    @property
    def is_run(self) -> bool:
        return any(self.file(name) for name in _SIGNS)

    def file(self, *parts: str) -> Path | None:
        """Return a regular file of the folder; None if there is none, or if a link leads out of the root."""
        path = self._inside(*parts)
        return path if path is not None and path.is_file() else None

    def folder(self, *parts: str) -> Path | None:
        """Return a folder within the run folder; None as for :meth:`file`."""
        path = self._inside(*parts)
        return path if path is not None and path.is_dir() else None

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder within the run folder, in order; empty if there is none that can be read."""
        folder = self.folder(*parts)
        try:
            return sorted(path.name for path in folder.iterdir()) if folder is not None else []
        except OSError:
            return []

    def object(self, *parts: str) -> dict[str, Any]:
        """Return the JSON object in a file; empty if there is none that can be read."""
        try:
            value = json.loads(self._read(*parts))
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def tail(self, name: str, most: int) -> bytes:
        """Return the whole lines among the last bytes of a file; empty if there is none that can be read."""
        path = self.file(name)
        try:
            if path is None:
                return b""
            with path.open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - most)
                file.seek(start)
                lines = file.read(most).rpartition(b"\n")[0]
        except OSError:
            return b""
        return lines.partition(b"\n")[2] if start else lines

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return ``config.yaml`` as plain values; empty if it cannot be read."""
        try:
            value = yaml.load(self._read("config.yaml"), Loader=_LOADER)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return {}
        return value if isinstance(value, dict) else {}

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the config, or the first component of a list; empty if there is none."""
        value = self.config.get(name)
        first = value[0] if isinstance(value, list) and value else value
        return first if isinstance(first, dict) else {}

    def _inside(self, *parts: str) -> Path | None:
        try:
            path = self.path.joinpath(*parts).resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return path if path.is_relative_to(self.root) else None

    def _read(self, *parts: str) -> bytes:
        path = self.file(*parts)
        if path is None or path.stat().st_size > _LARGEST:
            return b""
        return path.read_bytes()
