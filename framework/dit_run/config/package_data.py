"""Configs and schemas that come with dit-run, in a wheel and in an editable install alike."""

from __future__ import annotations

from pathlib import Path

__all__ = ["packaged"]

_PACKAGE = Path(__file__).resolve().parents[1]


def packaged(name: str) -> Path:
    """The path of a packaged file, given as ``configs/quickstart.yaml`` or ``schemas/dit-run.schema.json``.

    A wheel holds it under ``dit_run/_data``; an editable install finds it at the top of the repository. The file may
    be absent, where no such name is packaged.
    """
    inside = _PACKAGE / "_data" / name
    return inside if inside.exists() else _PACKAGE.parents[1] / name
