"""Configs, schemas and a page of the docs that come with dit-run, in a wheel or an editable install."""

from __future__ import annotations

from pathlib import Path

__all__ = ["packaged"]

_PACKAGE = Path(__file__).resolve().parents[1]


def packaged(name: str) -> Path:
    """Return the path of a packaged file such as ``configs/quickstart.yaml``; the file may not exist.

    A wheel holds it under ``dit_run/_data``; an editable install at the top of the repository.
    """
    inside = _PACKAGE / "_data" / name
    return inside if inside.exists() else _PACKAGE.parents[1] / name
