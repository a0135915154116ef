"""Git LFS pointers: small text files that stand for a large file which was not downloaded."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LFS_START", "LFS_TEXT", "is_lfs_pointer"]

LFS_START = b"version https://git-lfs.github.com/spec/"
"""First bytes of every pointer."""
LFS_TEXT = (
    "a Git LFS pointer: the repository was cloned without its large files; run `git lfs pull` in its folder, "
    "or download the file itself"
)
_MAX_BYTES = 1024


def is_lfs_pointer(path: Path) -> bool:
    """Return True if the file is a pointer. Raises OSError if it cannot be read."""
    if path.stat().st_size > _MAX_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_START)) == LFS_START
