"""Meters: sums over the steps since the last log, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dit_run.training.step import Outcome

__all__ = ["Meters"]


@dataclass
class Meters:
    """Loss and gradient norm summed over steps; part of a checkpoint, so that a continued run logs the same means."""

    device: torch.device
    steps: int = 0
    sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def add(self, outcome: Outcome) -> None:
        """Takes over one step without waiting for the device; a skipped one counts for nothing."""
        values = torch.stack([outcome.loss, outcome.grad_norm]).double()
        self.sums += torch.where(outcome.finite, values, torch.zeros_like(values))
        self.steps += 1

    def read(self) -> dict[str, float]:
        """Means since the last reading; starts again."""
        loss, norm = (self.sums / max(self.steps, 1)).tolist()
        self.steps = 0
        self.sums.zero_()
        return {"loss": loss, "grad_norm": norm}

    def state(self) -> dict[str, Any]:
        """Plain values; floats keep all their bits in JSON."""
        return {"steps": self.steps, "sums": self.sums.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        self.sums = torch.tensor(state["sums"], dtype=torch.float64, device=self.device)
