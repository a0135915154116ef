"""Caltech-UCSD Birds 200 (Wah et al., 2011), with the captions of Reed et al. (2016) where they are present."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dit_run.options import LocalPath
from dit_run.problems import InputError
from dit_run_plugins.datasets.index_files import existing_folder, relative_file

if TYPE_CHECKING:
    from dit_run.protocols import Dataset

__all__ = ["Cub", "build", "class_caption"]


@dataclass(frozen=True, kw_only=True)
class Cub:
    """CUB-200-2011: `CUB_200_2011/` with captions from `text_c10/` or, without it, from the names of the classes; or a
    prepared `metadata.json`."""

    dataset_path: Annotated[str, LocalPath] = "./data"
    """Where the data lies: the folder that holds `CUB_200_2011` (and `text_c10` or `cvpr2016_cub`), or that one itself."""


def build(options: Cub) -> Dataset:
    """Each image with its captions. Raises InputError for what is missing or broken, naming the file."""
    from dit_run_plugins.datasets.captioned import Builder
    from dit_run_plugins.datasets.prepared import prepared

    root = existing_folder(options.dataset_path)
    bases = [root, *_versions(root)]
    home = _first_folder([folder for base in bases for folder in (base / "CUB_200_2011", base)], holding="images.txt")
    if home is None:
        return prepared(root, "CUB_200_2011/images.txt")
    texts = _first_folder([base / place for base in bases for place in ("text_c10", "cvpr2016_cub/text_c10")])
    builder, prefix = Builder(root), (home / "images").relative_to(root).as_posix()
    for number, name in _table(home / "images.txt").items():
        file = relative_file(name, f"{home / 'images.txt'}: image {number}")
        for caption in _reed(texts, file) if texts else [_class_caption_of(home, number)]:
            builder.add(f"{prefix}/{file}", caption)
    return builder.build(home / "images.txt")
