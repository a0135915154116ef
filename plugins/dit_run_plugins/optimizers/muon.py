"""muon: orthogonalised momentum for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dit_run.options import NonNegativeFloat, PositiveFloat, PositiveInt, bounds
from dit_run.protocols import NamedParameters, ParameterRole

if TYPE_CHECKING:
    import torch

__all__ = ["Muon", "build"]


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Muon (Jordan et al. 2024) for the 2-D weights of the blocks, AdamW for the rest.

    Updates are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate and weight decay serve both.
    """

    weight_decay: NonNegativeFloat = 0.01
    """Decay of the weights of linear and convolution layers, times the learning rate; norms, biases and embeddings
    keep theirs."""
    momentum: Annotated[float, bounds(ge=0, lt=1)] = 0.95
    """Decay of the running mean of the gradient that is orthogonalised."""
    nesterov: bool = True
    """Look one step ahead along the momentum."""
    ns_steps: PositiveInt = 5
    """Newton-Schulz iterations of the orthogonalisation."""
    adamw_rate: PositiveFloat = 1.0
    """Learning rate of what AdamW updates, as a factor on the learning rate."""
    betas: Annotated[tuple[float, float], bounds(ge=0, lt=1)] = (0.9, 0.99)
    """AdamW's decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """AdamW's addition to the root of the mean square before dividing by it."""


def build(
    options: Muon,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
    device: torch.device,
) -> torch.optim.Optimizer:
    """One optimizer over all parameters. Without any matrix in a block it is AdamW alone."""
    import torch

    from dit_run.compute.devices import fuses_optimizers
    from dit_run_plugins.optimizers.adamw import decay_groups
    from dit_run_plugins.optimizers.composite import Pair

    matrices = [parameter for name, parameter in named_parameters if roles[name] == "matrix"]
    rest = [(name, parameter) for name, parameter in named_parameters if roles[name] != "matrix"]
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(
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
        optimizers.append(
            torch.optim.AdamW(
                decay_groups(rest, roles, options.weight_decay),
                lr=learning_rate * options.adamw_rate,
                betas=options.betas,
                eps=options.eps,
                fused=fuses_optimizers(device),
            )
        )
    return Pair(optimizers)
