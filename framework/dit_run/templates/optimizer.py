"""An optimizer: gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_run import Component, Kind, hookimpl
from dit_run.options import Probability
from dit_run.protocols import NamedParameters

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Example:
    """Gradient descent with momentum."""

    momentum: Probability = 0.9
    """Decay of the running sum of gradients."""


def build(options: Example, *, named_parameters: NamedParameters, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimizer. Available keywords: named_parameters, roles, learning_rate, device."""
    import torch

    parameters = [parameter for _, parameter in named_parameters]
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=options.momentum)


@hookimpl
def dit_run_components() -> list[Component]:
    return [Component(Kind.OPTIMIZER, "example", Example, build)]
