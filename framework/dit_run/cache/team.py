"""Team: the processes of a run that share one cache folder, and the part of each in building it."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from numpy.typing import NDArray

from dit_run.compute.distributed import Processes

__all__ = ["Team"]

T = TypeVar("T")
Items = TypeVar("Items", bound="Sequence[Any] | NDArray[Any]")


@dataclass(frozen=True)
class Team:
    """Processes whose cache is one folder. The first of them locks it for all."""

    ranks: tuple[int, ...] = (0,)
    place: int = 0
    """Place of this process among the ranks."""

    @classmethod
    def of(cls, root: Path, processes: Processes) -> Team:
        """Return the team of this process. Call it in all processes.

        Processes of one machine compare the folder itself. Others look for a file of the first process; where that
        cannot write, each machine has a team of its own.
        """
        if processes.count == 1:
            return cls()
        token = processes.on_first(lambda: _written(root))
        status = root.stat()
        seen = token is not None and (root / token).exists()
        folders = processes.gather("" if seen else f"{socket.gethostname()} {status.st_dev} {status.st_ino}")
        if processes.first and token is not None:
            (root / token).unlink(missing_ok=True)
        mine = folders[processes.rank]
        ranks = tuple(rank for rank, folder in enumerate(folders) if folder == mine)
        return cls(ranks, ranks.index(processes.rank))

    @property
    def leads(self) -> bool:
        """True in the first process of the team."""
        return self.place == 0

    def part(self, items: Items) -> Items:
        """Return the items of this process. They are neighbours, so that it reads few shards."""
        size, count = len(items), len(self.ranks)
        return cast(Items, items[size * self.place // count : size * (self.place + 1) // count])

    def values(self, of_all: Sequence[T]) -> list[T]:
        """Return the values of the team, of those of all processes by rank."""
        return [of_all[rank] for rank in self.ranks]


def _written(root: Path) -> str | None:
    """Write a new file with a name of its own; return the name, or None where nothing can be written."""
    name = f".together-{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        (root / name).touch()
        return name
    return None
