"""A plugin file: a folder of images that never change.

Each read of a sample is noted in the file ``reads``, and each listing of the folder in the file ``listings``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dit_run import Component, Kind, hookimpl
from dit_run.data import kept_columns
from dit_run.protocols import Dataset, Sample
from dit_run_plugins.datasets import custom

kept_columns.KEPT_FROM = 2  # a few samples count as many


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Images with captions next to them."""

    dataset_path: str


@dataclass(frozen=True)
class NotedImages:
    """A dataset that names its content by its folder."""

    images: Dataset
    identity: str

    @property
    def images_identity(self) -> str:
        return self.identity

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        with Path("reads").open("a") as reads:
            reads.write(f"{index}\n")
        return self.images[index]

    def keys(self) -> Iterator[str]:
        return (self[index].key for index in range(len(self)))


def build(options: Noted) -> NotedImages:
    folder = str(Path(options.dataset_path).absolute())
    with Path("listings").open("a") as listings:
        listings.write(f"{folder}\n")
    return NotedImages(custom.build(custom.Custom(dataset_path=folder)), folder)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.DATASET, "noted", Noted, build)]
