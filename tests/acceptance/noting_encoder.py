"""A plugin for tests: a frozen text encoder that notes how much of its blocks its process holds when it is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor, nn

from dit_run import Component, Kind, hookimpl
from dit_run.compute.sharding import local
from dit_run.protocols import Tokens

WIDTH, WORDS = 8, 64


@dataclass(frozen=True, kw_only=True)
class Noting:
    """Hashed words through two blocks."""


class NotingEncoder(nn.Module):
    trainable, width, pooled_width, max_length = False, WIDTH, WIDTH, 32

    def __init__(self) -> None:
        super().__init__()
        self.table: nn.Embedding | None = None
        self.blocks = nn.ModuleList()

    def load(self) -> None:
        if self.table is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.table = nn.Embedding(WORDS, WIDTH)
                self.blocks.extend(nn.Linear(WIDTH, WIDTH) for _ in range(2))
            self.requires_grad_(False)

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        rows = [[1, *(2 + crc32(word.encode()) % (WORDS - 2) for word in each.split())] for each in captions]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return Tokens(ids, ids > 0, 0)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        self.load()
        self._note()
        assert self.table is not None
        states = self.table(ids)
        for block in self.blocks:
            states = states + block(states).tanh()
        return states, states[:, 0]

    def fingerprint(self) -> str:
        return "00000000000000ab"

    def _note(self) -> None:
        weights = [weight for block in self.blocks for weight in block.parameters()]
        held, all_of_them = (sum(each.numel() for each in some) for some in ([*map(local, weights)], weights))
        with Path(f"held-{os.environ.get('RANK', '0')}").open("a") as file:
            file.write(f"{held}/{all_of_them}\n")


def build(options: Noting) -> NotingEncoder:
    return NotingEncoder()


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.TEXT_ENCODER, "noting", Noting, build)]
