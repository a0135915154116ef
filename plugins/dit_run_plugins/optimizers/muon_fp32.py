"""Muon in fp32, for processors that are slow in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["MuonFp32"]


class MuonFp32(torch.optim.Muon):
    """torch.optim.Muon with ``adjust_lr_fn="match_rms_adamw"``, orthogonalised in fp32 instead of bfloat16.

    torch computes the Newton-Schulz iterations in bfloat16, which on most processors takes longer than fp32. State and
    param groups are those of torch, so that a run can continue on another device.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        update = _orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-0.2 * max(parameter.shape) ** 0.5 * group["lr"])


def _orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return the nearest semi-orthogonal matrix, about, by quintic Newton-Schulz iterations (Jordan et al. 2024)."""
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x
