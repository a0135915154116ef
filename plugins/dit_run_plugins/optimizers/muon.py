"""muon: orthogonalised momentum for the matrices in the blocks, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from dit_run.options import NonNegativeFloat, PositiveFloat, PositiveInt, acts_unless, bounds
from dit_run.protocols import NamedParameters, ParameterRole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Muon", "build"]


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Muon (Jordan et al. 2024) for the 2-D weights of the blocks, AdamW for the rest.

    Orthogonal updates of a weight [A, B] are scaled by 0.2 sqrt(max(A, B)) to the size of AdamW's (Liu et al. 2025), so
    that one learning rate and weight decay serve both. torch.optim.Muon by default, and the original, scale by
    sqrt(max(1, A / B)): divide a learning rate of theirs by 0.2 sqrt(B), and multiply their weight decay by it.
    docs/optimizers.md compares the three.
    """

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate. Norms, biases and embeddings do
    not decay."""
    momentum: Annotated[float, bounds(ge=0, lt=1)] = 0.95
    """Decay of the running mean of the gradient that is orthogonalised."""
    nesterov: Annotated[bool, acts_unless("momentum", 0.0)] = True
    """Look one step ahead along the momentum."""
    ns_steps: PositiveInt = 5
    """Newton-Schulz iterations of the orthogonalisation."""
    adamw_rate: PositiveFloat = 1.0
    """Factor on the learning rate for the parameters that AdamW updates."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.99)
    """Decay of AdamW's running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added by AdamW to the root of the mean square before the division by it."""


def build(
    options: Muon,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
    device: torch.device,
) -> torch.optim.Optimizer:
    """Return one optimizer over all parameters. Without matrices in blocks it is AdamW alone."""
    from dit_run_plugins.optimizers import adamw
    from dit_run_plugins.optimizers.composite import CompositeOptimizer

    matrices = [parameter for name, parameter in named_parameters if roles[name] == "matrix"]
    rest = [(name, parameter) for name, parameter in named_parameters if roles[name] != "matrix"]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            _matrix_optimizer(device, matrices)(
                matrices,
                lr=learning_rate,
                weight_decay=options.weight_decay,
                momentum=options.momentum,
                nesterov=options.nesterov,
                ns_steps=options.ns_steps,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if rest:
        inner = adamw.AdamW(weight_decay=options.weight_decay, betas=options.betas, eps=options.eps)
        rate = learning_rate * options.adamw_rate
        optimizers.append(adamw.build(inner, named_parameters=rest, roles=roles, learning_rate=rate, device=device))
    return CompositeOptimizer(optimizers)


def _matrix_optimizer(device: torch.device, matrices: Sequence[Tensor]) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimizer of these matrices on this device; all have the same state."""
    import torch

    from dit_run.compute.devices import answers_at_once, multiplies_bfloat16
    from dit_run.compute.sharding import is_sharded
    from dit_run_plugins.optimizers.muon_fp32 import MuonFp32
    from dit_run_plugins.optimizers.muon_grouped import GroupedMuon

    fast = multiplies_bfloat16(device)
    if not answers_at_once(device) or any(map(is_sharded, matrices)):
        return partial(GroupedMuon, dtype=torch.bfloat16 if fast else torch.float32)
    return torch.optim.Muon if fast else MuonFp32
