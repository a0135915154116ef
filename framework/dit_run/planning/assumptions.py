"""Assumptions of a plan for machines that are not at hand: their speeds, and sizes of data that no config tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from dit_run.problems import InputError
from dit_run.system.units import read_size

__all__ = ["Assumptions"]


@dataclass(frozen=True)
class Assumptions:
    """Speeds and sizes, each of which ``dit-run plan --assume NAME=VALUE`` changes."""

    inside: float = 300e9
    """Bytes a second that a GPU sends to others of its machine, over NVLink."""
    between: float = 50e9
    """Bytes a second that a GPU sends to other machines, over InfiniBand with 400 Gbit/s."""
    host: float = 20e9
    """Bytes a second from a GPU to the memory of its machine."""
    writer: float = 1e9
    """Bytes a second that a process writes and checks."""
    storage: float = 20e9
    """Bytes a second that the shared disk takes from all processes together."""
    flops: float = 300e12
    """Operations a second of a GPU that fills the cache."""
    images: float = 1e6
    """Images in the cache, each with a caption of its own."""
    tokens: float = 50.0
    """Tokens of a caption."""

    def changed(self, assignments: Iterable[str]) -> Assumptions:
        """Return these with some that are written as NAME=VALUE, such as ``between=25GB``. Raises InputError."""
        names = [field.name for field in fields(self)]
        changes: dict[str, float] = {}
        for assignment in assignments:
            name, _, value = assignment.partition("=")
            if name not in names:
                raise InputError(
                    f"--assume {assignment}: there is no assumption {name}; choose from {', '.join(names)}"
                )
            try:
                changes[name] = read_size(value)
            except ValueError as error:
                raise InputError(f"--assume {assignment}: {error}") from error
            if not changes[name]:
                raise InputError(f"--assume {assignment}: a number greater than 0 is expected")
        return replace(self, **changes)
