"""Checks of the paths that users and data files give."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dit_run.problems import InputError

__all__ = ["existing_folder", "relative_file"]


def existing_folder(dataset_path: str) -> Path:
    """Return ``data.dataset_path`` as a path. Raises InputError if it is not a folder."""
    folder = Path(dataset_path)
    if not folder.is_dir():
        raise InputError(
            f"data.dataset_path: {folder} {'is not a folder' if folder.exists() else 'does not exist'}; "
            "set it to the folder that holds the data"
        )
    return folder


def relative_file(name: Any, where: str) -> str:
    """Return a path from a data file, which must be relative and stay in its folder, with forward slashes.

    Raises InputError, which starts with ``where``, for anything else.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{where}: expected the path of an image, not {name!r}")
    windows = PureWindowsPath(name)  # splits at both kinds of slash
    if windows.anchor or ".." in windows.parts:
        raise InputError(
            f"{where}: the path {name!r} must be relative and stay in its folder, without '/' at the start and '..'"
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {name!r} is not a valid file name") from error
    return str(PurePosixPath(name))
