"""Tar shards for tests, in the WebDataset layout."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_shards", "write_tar"]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write an archive with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_shards(folder: Path, samples: Sequence[tuple[Path, Sequence[str]]], count: int) -> list[Path]:
    """Write image files with their captions, one per line, into ``count`` archives ``0.tar``, ``1.tar``, …"""
    paths = []
    for shard in range(count):
        own = samples[shard * len(samples) // count : (shard + 1) * len(samples) // count]
        members = [
            part
            for image, captions in own
            for part in ((image.name, image.read_bytes()), (f"{image.stem}.txt", "\n".join(captions).encode()))
        ]
        paths.append(write_tar(folder / f"{shard}.tar", members))
    return paths
