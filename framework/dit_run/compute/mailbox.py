"""Mailbox: values that one process leaves for others in the store of a run, without a collective operation."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = ["Mailbox"]

PART = 4 * 2**20
"""Most bytes of a value in one entry: torch's store refuses 8 MiB."""


@dataclass(frozen=True)
class Mailbox:
    """Picklable values by key. A value counts as there once all of it is."""

    store: Store

    def put(self, key: str, value: object) -> None:
        """Leave a value."""
        content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        parts = [content[start : start + PART] for start in range(0, len(content), PART)]
        for number, part in enumerate(parts):
            self.store.set(f"{key}/{number}", part)  # type: ignore[arg-type]  # bytes are taken, too
        self.store.set(key, str(len(parts)))

    def has(self, key: str) -> bool:
        """Return True if the value is there."""
        return bool(self.store.check([key]))

    def get(self, key: str) -> Any:
        """Return a value that is there, and leave it there."""
        count = int(self.store.get(key))
        return pickle.loads(b"".join(self.store.get(f"{key}/{number}") for number in range(count)))

    def remove(self, key: str) -> None:
        """Remove a value, if it is there."""
        if self.has(key):
            count = int(self.store.get(key))
            self.store.delete_key(key)
            for number in range(count):
                self.store.delete_key(f"{key}/{number}")
