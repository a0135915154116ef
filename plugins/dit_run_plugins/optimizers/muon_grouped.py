"""Muon with few launches and no wait for the device, also of sharded matrices.

It is for devices that work while the host continues, and for matrices of which each process has some rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dit_run.compute.sharding import local
from dit_run.compute.whole_tensors import of_whole

__all__ = ["GroupedMuon"]


class GroupedMuon(torch.optim.Muon):
    """torch.optim.Muon with ``adjust_lr_fn="match_rms_adamw"``, which orthogonalises equal shapes together.

    Processes that have parts of the same matrices share out the whole ones to orthogonalise them.

    A step takes some tens of launches for each shape instead of for each matrix. As the fused optimizers of torch, it
    reads ``grad_scale`` (a divisor of the gradients or None) and ``found_inf`` (1 to skip the update, else 0) on the
    device. State and param groups are those of torch, so that a run can continue on another device.
    """

    def __init__(self, params: Iterable[Tensor], *, dtype: torch.dtype, **options: Any) -> None:
        """Take the dtype of the Newton-Schulz iterations."""
        super().__init__(params, **options)
        self._step_supports_amp_scaling = True
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        divisor, skipped = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for parameters in shapes.values():
                self._update(parameters, group, divisor, skipped)

    def _update(
        self, parameters: list[Tensor], group: dict[str, Any], divisor: Tensor | None, skipped: Tensor | None
    ) -> None:
        """Update parameters of one shape [r, c]."""
        gradients = torch.stack([local(each.grad) for each in parameters if each.grad is not None])
        if divisor is not None:
            gradients = gradients / divisor
        counts: float | Tensor = 1.0
        if skipped is not None:
            counts = 1 - skipped
            gradients = torch.where(skipped.bool(), 0.0, gradients)  # a product with 0 would keep what is not finite
        buffers = [local(self._momentum(parameter)) for parameter in parameters]
        change = (gradients - torch.stack(buffers)) * ((1 - group["momentum"]) * counts)
        torch._foreach_add_(buffers, change.unbind())
        momentum = torch.stack(buffers)
        update = gradients.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        options = {"coefficients": group["ns_coefficients"], "steps": group["ns_steps"], "eps": group["eps"]}
        update = of_whole(partial(orthogonalised, **options), update.to(self._dtype), parameters[0])
        parts = [local(parameter) for parameter in parameters]
        rate = 0.2 * max(parameters[0].shape) ** 0.5 * group["lr"]
        torch._foreach_mul_(parts, 1 - group["lr"] * group["weight_decay"] * counts)
        torch._foreach_add_(parts, (update.to(parts[0].dtype) * (-rate * counts)).unbind())

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Return the nearest semi-orthogonal matrices, about, for ``matrices`` [n, r, c]: see Muon in torch.optim."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
