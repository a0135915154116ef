"""Shards: the files that a folder, or a pattern of paths with braces, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

from dit_run.problems import InputError

__all__ = ["holds_shards", "shard_files"]

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def shard_files(written: str, suffix: str) -> Iterator[Path]:
    """Yield the files of a folder or a pattern (``data.dataset_path``), sorted.

    Raises InputError for names that exist nowhere or twice.
    """
    folder = Path(written)
    patterns = [str(folder / f"*{suffix}")] if folder.is_dir() else list(_expand(written))
    found = [path for pattern in patterns for path in _matching(pattern)]
    if not found:
        raise InputError(
            f"data.dataset_path: no {suffix[1:]} file is found for {written}; set it to a folder with {suffix} files, "
            f"or to a pattern such as shards/train-{{00000..00099}}{suffix}"
        )
    names = [path.name for path in found]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise InputError(f"data.dataset_path: two shards are named {repeated}; the names are part of samples' keys")
    yield from found


def holds_shards(place: str, suffix: str) -> bool:
    """Return True for a folder with files of this suffix, and for a file, a pattern or a URL that ends with it."""
    folder = Path(place)
    return any(folder.glob(f"*{suffix}")) if folder.is_dir() else place.endswith(suffix)


def _matching(pattern: str) -> list[Path]:
    if has_magic(pattern):
        return sorted(Path(path) for path in glob(pattern) if Path(path).is_file())  # noqa: PTH207 (absolute patterns)
    if not Path(pattern).is_file():
        raise InputError(f"data.dataset_path: the shard {pattern} does not exist")
    return [Path(pattern)]


def _expand(written: str) -> Iterator[str]:
    """Yield the alternatives of braces: ``{a,b}``, and numbers ``{000..099}`` with their zeros."""
    braces = _BRACES.search(written)
    if braces is None:
        yield written
        return
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        choices = [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]
    else:
        choices = braces[1].split(",")
    for choice in choices:
        yield from _expand(written[: braces.start()] + choice + written[braces.end() :])
