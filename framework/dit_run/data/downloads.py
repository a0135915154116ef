"""Downloads: files on servers and object stores, named by URLs, which fsspec reads.

A file is read in ranges. A range that fails, because a connection drops or a server is busy, is read again after a
pause that doubles each time; a file that does not exist or may not be read is an error at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from glob import has_magic
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from dit_run.data.remote_errors import is_final, reason
from dit_run.digests import combined
from dit_run.problems import DitRunError, InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Pause", "RemoteFailed", "RemoteFile", "download", "matching", "remote_files"]

T = TypeVar("T")
Pause = Callable[[float], None]
"""Waits for a number of seconds."""

_RANGE = 8 * 2**20
"""Bytes that are asked for at once."""
_TRIES = 6
"""Number of times that a range is asked for."""
_FIRST_PAUSE = 0.5
"""Pause before the second try (seconds)."""
_ASKED_AT_ONCE = 16
"""Files whose sizes are asked for at the same time (number)."""
_VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "generation", "blob_id", "sha", "version_id", "VersionId")
_TIMES = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "created")


class RemoteFailed(DitRunError):
    """A file cannot be fetched. The text names its URL."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, in the state that was found."""

    url: str
    bytes: int
    version: str
    """Changes with the content, as far as the server tells it: its entity tag, checksum or time."""

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest that other files, and other states of this one, do not have."""
        return combined([self.url, self.bytes, self.version])[:32]


def matching(pattern: str, *, pause: Pause = time.sleep) -> list[str]:
    """Return the URLs that match a pattern with ``*``, ``?`` or ``[]``, sorted. Raises InputError and RemoteFailed."""
    if not has_magic(pattern):
        return [pattern]
    files, path = _opened(pattern)
    files.invalidate_cache()  # an earlier run of this process may have listed it
    found = _first_answer(partial(files.glob, path), pattern, pause)
    return sorted(files.unstrip_protocol(each) for each in found)


def remote_files(urls: Sequence[str], *, pause: Pause = time.sleep) -> list[RemoteFile]:
    """Return the files at these URLs. Raises InputError for one that cannot be read, and RemoteFailed."""

    def found(url: str) -> RemoteFile:
        files, path = _opened(url)
        return _remote_file(url, _first_answer(partial(files.info, path), url, pause))

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as asking:
        return list(asking.map(found, urls))


def _first_answer(call: Callable[[], T], url: str, pause: Pause) -> T:
    """Return the result of a call at the start, where a URL that is missing or needs keys is an error of the config."""
    try:
        return _tried(call, url, pause)
    except RemoteFailed as error:
        if error.__cause__ is not None and is_final(error.__cause__):
            raise InputError(f"{error} (data.dataset_path)") from error
        raise


def _remote_file(url: str, found: Mapping[str, Any]) -> RemoteFile:
    """Return the file that a file system describes. Raises InputError for one without a size."""
    if not isinstance(found.get("size"), int):
        raise InputError(f"the server does not tell the size of {url}, which is needed to read it (data.dataset_path)")
    known = [found[key] for key in _VERSIONS if found.get(key)] or [found[key] for key in _TIMES if found.get(key)]
    return RemoteFile(url, found["size"], str(known[0]) if known else "")


def download(remote: RemoteFile, into: BinaryIO, *, pause: Pause = time.sleep, at_once: int = _RANGE) -> str:
    """Write the content of a file and return its checksum. Raises RemoteFailed, also if the file has changed.

    ``at_once`` is the largest range that is asked for (bytes).
    """
    from xxhash import xxh3_128

    files, path = _opened(remote.url)
    now = _remote_file(remote.url, _tried(partial(_fresh_info, files, path), remote.url, pause))
    if now != remote:
        raise RemoteFailed(
            f"{remote.url} has changed since the start: it has {now.bytes:,} bytes and the version "
            f"{now.version or '?'}, and had {remote.bytes:,} bytes and {remote.version or '?'}; the same command reads "
            "it again"
        )
    checksum, at = xxh3_128(), 0
    while at < remote.bytes:
        read = partial(_range, files, path, at, min(at + at_once, remote.bytes), remote.bytes)
        content = _tried(read, remote.url, pause, f" after {at:,} of {remote.bytes:,} bytes" if at else "")
        into.write(content)
        checksum.update(content)
        at += len(content)
    return checksum.hexdigest()


def _fresh_info(files: AbstractFileSystem, path: str) -> Mapping[str, Any]:
    """Return the description of a file as it is now, though the file system may have listed it before."""
    files.invalidate_cache(path)  # hf asks the server even for this
    info: Mapping[str, Any] = files.info(path)
    return info


def _range(files: AbstractFileSystem, path: str, start: int, end: int, size: int) -> bytes:
    """Return at least one byte from ``start`` on, or all of the rest where the server knows no ranges."""
    content: bytes = files.cat_file(path, start=start, end=end, **_range_options(files))
    if len(content) == size:
        return content[start:]
    if not 0 < len(content) <= end - start:
        raise OSError(f"the server answers {len(content):,} bytes where {end - start:,} were asked for")
    return content


def _range_options(files: AbstractFileSystem) -> dict[str, str]:
    """Return options for file systems that open a file for each range, such as hf: they would read beyond its end."""
    from fsspec import AbstractFileSystem

    opens = getattr(files.cat_file, "__func__", None) is AbstractFileSystem.cat_file
    return {"cache_type": "none"} if opens else {}


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and its path there. Raises InputError for one that cannot be used."""
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except ImportError as error:
        raise InputError(
            f"data.dataset_path: {url} needs a package that cannot be imported ({error}): pip install "
            "'dit-run[remote]', which reads http, https and hf, or the package of the store (s3fs, gcsfs)"
        ) from error
    except ValueError as error:
        raise InputError(f"data.dataset_path: {url} cannot be used: {error}") from error
    return files, path


def _tried(call: Callable[[], T], url: str, pause: Pause, where: str = "") -> T:
    """Return the result of a call, which is tried several times. Raises RemoteFailed."""
    for count in range(_TRIES):
        try:
            return call()
        except Exception as error:  # file systems raise what they like
            if is_final(error):
                raise RemoteFailed(f"cannot read {url}{where}: {reason(error)}") from error
            if count == _TRIES - 1:
                raise RemoteFailed(
                    f"cannot read {url}{where}: {_TRIES} tries failed, the last with {reason(error)}; the same "
                    "command continues when the server answers again"
                ) from error
            pause(_FIRST_PAUSE * 2**count)
    raise AssertionError("unreachable")
