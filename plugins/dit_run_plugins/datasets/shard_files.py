"""Shards: the files that a folder, or a pattern of paths or URLs with braces, names."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from dit_run.data.downloads import matching, remote_files
from dit_run.data.shard_cache import ShardCache
from dit_run.data.shard_sources import LocalShard, RemoteShard, ShardSource
from dit_run.digests import file_stat, is_settled
from dit_run.problems import InputError
from dit_run.protocols import Recognised
from dit_run.system.urls import is_url

__all__ = ["recognised", "shard_files", "shards_of"]

_FILE = "file://"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def shards_of(written: str, suffix: str, cache: ShardCache | None) -> tuple[ShardSource, ...]:
    """Return the shards of a folder, a pattern or URLs (``data.dataset_path``), sorted by pattern and name.

    ``cache`` holds copies of remote ones; None takes the default cache. Raises InputError for shards that are missing
    or larger than the cache, for two of one name, and RemoteFailed for a server that does not answer.
    """
    local = written.removeprefix(_FILE)
    shards: tuple[ShardSource, ...]
    if is_url(local):
        urls = [url for pattern in _url_patterns(written, suffix) for url in matching(pattern)]
        _check_found(urls, written, suffix)
        cache = cache or ShardCache.of(None)
        remotes = remote_files(urls)
        for remote in remotes:
            cache.refuse_too_large(remote)
        shards = tuple(RemoteShard(remote, cache) for remote in remotes)
    else:
        shards = tuple(_local_shard(path) for path in shard_files(local, suffix))
    names = [shard.name for shard in shards]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise InputError(f"data.dataset_path: two shards are named {repeated}; the names are part of samples' keys")
    return shards


def shard_files(written: str, suffix: str) -> list[Path]:
    """Return the files of a local folder or pattern, sorted. Raises InputError for names that do not exist."""
    folder = Path(written)
    found = (
        _in_folder(folder, suffix)
        if folder.is_dir()
        else [path for pattern in _expand(written) for path in _matching(pattern)]
    )
    _check_found(found, written, suffix)
    return found


def _in_folder(folder: Path, suffix: str) -> list[Path]:
    """Return the shards in a folder or, where it has none, in the folders in it; hidden ones do not count."""
    for pattern in (f"*{suffix}", f"**/*{suffix}"):
        paths = (folder / name for name in glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207 (no hidden ones)
        if found := sorted(path for path in paths if path.is_file()):
            return found
    return []


def _check_found(found: Sequence[object], written: str, suffix: str) -> None:
    if not found:
        raise InputError(
            f"data.dataset_path: no {suffix[1:]} file is found for {written}; set it to a folder with {suffix} files, "
            f"or to a pattern such as shards/train-{{00000..00099}}{suffix}"
        )


def _url_patterns(written: str, suffix: str) -> list[str]:
    """Return the alternatives of a URL; one that does not end as shards do is a folder of shards."""
    return [url if _is_shard(url, suffix) else f"{url.rstrip('/')}/*{suffix}" for url in _expand(written)]


def _is_shard(url: str, suffix: str) -> bool:
    return url.partition("?")[0].endswith(suffix)


def _local_shard(shard: Path) -> LocalShard:
    now = time.time_ns()
    try:
        stat = file_stat(shard)
        return LocalShard(shard, stat, is_settled(stat, now))
    except OSError as error:
        raise InputError(f"cannot read the shard {shard}: {error.strerror}") from error


def recognised(place: str, suffix: str, reason: str) -> Recognised | None:
    """Return the options for a file, pattern or URL of this suffix, or for a folder or URL of a folder with some.

    A folder that has them in other folders may rather be meant for other files. Raises InputError and RemoteFailed for
    a store that does not list a URL.
    """
    found = Recognised({"dataset_path": place}, reason)
    folder = Path(place)
    if folder.is_dir():
        shards = _in_folder(folder, suffix)
        return found._replace(general=shards[0].parent != folder) if shards else None
    if is_url(place):
        return found if _is_shard(place, suffix) or any(map(matching, _url_patterns(place, suffix))) else None
    return found if place.endswith(suffix) else None


def _matching(pattern: str) -> list[Path]:
    if has_magic(pattern):
        return sorted(Path(path) for path in glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207 (absolute)
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
