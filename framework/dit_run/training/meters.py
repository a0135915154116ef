"""Meters: sums over the steps since the last log, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.devices import summing_dtype
from dit_run.training.step import StepResult

__all__ = ["Meters"]


@dataclass
class Meters:
    """Loss and gradient norm summed over steps; part of a checkpoint, so that a continued run logs the same means."""

    device: torch.device
    sums: Tensor = field(init=False)
    """[3], :func:`dit_run.compute.devices.summing_dtype`: of losses, of norms, and the number of steps."""

    latest: dict[str, float] = field(default_factory=dict)
    """The last reading, which a checkpoint keeps until it is logged."""

    def __post_init__(self) -> None:
        self.sums = torch.zeros(3, dtype=summing_dtype(self.device), device=self.device)

    def add(self, result: StepResult) -> None:
        """Add one step, unless it was skipped, without waiting for the device."""
        values = torch.stack([result.loss, result.grad_norm, torch.ones_like(result.loss)]).to(self.sums.dtype)
        self.sums += torch.where(result.finite, values, torch.zeros_like(values))

    def read(self) -> dict[str, float]:
        """Return the means since the last reading, empty where no step counted, and start again."""
        loss, norm, steps = self.sums.tolist()
        self.sums.zero_()
        self.latest = {"loss": loss / steps, "grad_norm": norm / steps} if steps else {}
        return self.latest

    def again(self) -> dict[str, float]:
        """Return the last reading once more, or a new one if steps were added since then."""
        return self.read() if self.sums[2].item() else self.latest

    def state_dict(self) -> dict[str, Any]:
        """Return plain values; floats keep all their bits in JSON."""
        return {"sums": self.sums.tolist(), "latest": self.latest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums = torch.tensor(state["sums"], dtype=summing_dtype(self.device), device=self.device)
        self.latest = dict(state.get("latest", {}))
