"""Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", https://arxiv.org/abs/2302.06675)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from dit_run.protocols import NamedParameters, ParameterRole

if TYPE_CHECKING:
    from dit_run_lion.plugin import Lion

__all__ = ["LionOptimizer", "build"]

DECAYED = ("matrix", "edge")


class LionOptimizer(torch.optim.Optimizer):
    """w ← w - lr (sign(β₁ m + (1 - β₁) g) + λ w), then m ← β₂ m + (1 - β₂) g."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": list(betas), "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            (blend, keep), rate = group["betas"], group["lr"]
            for parameter in (parameter for parameter in group["params"] if parameter.grad is not None):
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum, gradient = state["momentum"], parameter.grad
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(torch.lerp(gradient, momentum, blend).sign_(), alpha=-rate)
                momentum.lerp_(gradient, 1 - keep)


def build(
    options: Lion, *, named_parameters: NamedParameters, roles: Mapping[str, ParameterRole], learning_rate: float
) -> LionOptimizer:
    """Return the optimizer over all parameters; biases, norms and embeddings get no weight decay."""
    decayed = [parameter for name, parameter in named_parameters if roles[name] in DECAYED]
    kept = [parameter for name, parameter in named_parameters if roles[name] not in DECAYED]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": kept}]
    return LionOptimizer([group for group in groups if group["params"]], learning_rate, options.betas)
