"""The prepared layout, which every file dataset takes: a folder with an index file that names its images."""

from __future__ import annotations

from pathlib import Path

from dit_run.problems import InputError
from dit_run_plugins.datasets.captioned_files import Builder, CaptionedFiles
from dit_run_plugins.datasets.metadata_files import read_index

__all__ = ["indexed", "prepared"]


def indexed(root: Path, index: Path) -> CaptionedFiles:
    """The images that an index file in ``root`` names."""
    builder = Builder(root)
    for file, caption in read_index(index):
        builder.add(file, caption)
    return builder.build(index)


def prepared(root: Path, genuine: str) -> CaptionedFiles:
    """The dataset of ``metadata.json``. Raises InputError where it is missing, naming the ``genuine`` layout too."""
    index = root / "metadata.json"
    if not index.is_file():
        raise InputError(f"data.dataset_path: {root} has neither {genuine} nor metadata.json")
    return indexed(root, index)
