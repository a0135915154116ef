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
    parts: tuple[str, ...] = ()
    """Names of the parts of a mixture."""
    objectives: tuple[str, ...] = ()
    """Names of the values of objectives."""
    sums: Tensor = field(init=False)
    """[3 + 2p + 2q], :func:`dit_run.compute.devices.summing_dtype`: of losses, of norms, the number of steps; for each
    of p parts the sum of the losses of its samples and their number; of q values of objectives, and how often each was
    computed."""

    latest: dict[str, float] = field(default_factory=dict)
    """The last reading, which a checkpoint keeps until it is logged."""

    def __post_init__(self) -> None:
        count = 3 + 2 * len(self.parts) + 2 * len(self.objectives)
        self.sums = torch.zeros(count, dtype=summing_dtype(self.device), device=self.device)

    def add(self, result: StepResult) -> None:
        """Add one step, unless it was skipped, without waiting for the device."""
        loss, parts = result.losses[:1], result.losses[1:]
        values = torch.cat([loss, result.grad_norm[None], torch.ones_like(loss), parts]).to(self.sums.dtype)
        self.sums += torch.where(result.finite, values, torch.zeros_like(values))

    def read(self) -> dict[str, float]:
        """Return the means since the last reading, empty where no step counted, and start again."""
        loss, norm, steps, *more = self.sums.tolist()
        self.sums.zero_()
        parts, values = more[: 2 * len(self.parts)], more[2 * len(self.parts) :]
        self.latest = {}
        if steps:
            means = {"loss": loss / steps, "grad_norm": norm / steps}
            self.latest = {**means, **self._of_parts(parts), **self._of_objectives(values)}
        return self.latest

    def _of_objectives(self, sums: list[float]) -> dict[str, float]:
        """Return the mean of each value over the micro-batches in which it was computed."""
        values, counts = sums[: len(self.objectives)], sums[len(self.objectives) :]
        return {name: value / n for name, value, n in zip(self.objectives, values, counts, strict=True) if n}

    def _of_parts(self, sums: list[float]) -> dict[str, float]:
        """Return the mean loss of each part that had samples, and the share of each part of all samples."""
        losses, counts = sums[: len(self.parts)], sums[len(self.parts) :]
        values = {f"loss/{name}": loss / n for name, loss, n in zip(self.parts, losses, counts, strict=True) if n}
        return values | {f"share/{name}": n / sum(counts) for name, n in zip(self.parts, counts, strict=True)}

    def again(self) -> dict[str, float]:
        """Return the last reading once more, or a new one if steps were added since then."""
        return self.read() if self.sums[2].item() else self.latest

    def state_dict(self) -> dict[str, Any]:
        """Return plain values; floats keep all their bits in JSON."""
        return {"sums": self.sums.tolist(), "latest": self.latest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the sums; those of other parts, which a fork may have had, begin at zero."""
        sums = torch.tensor(state["sums"], dtype=summing_dtype(self.device), device=self.device)
        count = len(sums) if len(sums) == len(self.sums) else 3
        self.sums.zero_()
        self.sums[:count] = sums[:count]
        self.latest = dict(state.get("latest", {}))
