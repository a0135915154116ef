"""Optimizers, and the roles of the parameters that they get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

__all__ = ["NamedParameters", "Optimizer", "ParameterRole"]

NamedParameters = Sequence[tuple[str, "torch.nn.Parameter"]]
"""Parameters with their names."""

ParameterRole = str
"""``matrix`` (weight of a linear layer in a member of a ``ModuleList`` or ``Sequential``, as repeated blocks are),
``edge`` (weight of any other linear layer or convolution: input, output, conditioning), ``embedding``, ``norm``,
``bias`` or ``other``."""


class Optimizer(Protocol):
    """``build(options, *, named_parameters, roles, learning_rate, device) -> torch.optim.Optimizer``.

    ``named_parameters`` is a list of (name, parameter) of all trained parameters, float32 on ``device``, a
    torch.device. ``roles`` maps each name, also of parameters that are not trained, to its :data:`ParameterRole`;
    weight decay belongs on ``matrix`` and ``edge`` only. ``learning_rate`` is the peak rate, a float above 0. A param
    group may set its own ``lr`` from it: the peak of that group. Before each step the core sets ``group["lr"]`` to that
    peak times the factor of the learning-rate scheduler, which is 0 at the start of a warm-up.

    With ``training.learning_rate_factors`` the factory is called once for each factor, with the parameters of that
    factor and the peak rate times it: each of these optimizers has a state of its own.

    With ``training.shard`` parameters, gradients and states are DTensors, of which this process has a part. Under
    ``training.elastic_exact`` the optimizer is built for whole parameters and updates whole ones instead, some in each
    process; the others have no rows. Its states are then plain values, or tensors without dimensions or of the shape of
    the parameter.

    ``step()`` is called without a closure, after clipping (``training.max_grad_norm``). The ``grad`` of a parameter
    that took no part is None. A step whose loss or gradient is not finite is skipped. The state_dict holds only tensors
    and plain values, and training continues from it bit for bit.

    An optimizer that evaluates a model on other weights than it trains, as schedule-free ones do, has the methods
    ``eval()`` and ``train()``: they put the weights that are evaluated, or those that train, into the parameters, and
    a repeated call changes nothing. Both depend on parameters and state alone, and ``eval()`` changes nothing else of
    the state than the mode, which is in the state_dict. Gradients are taken and ``step()`` is called in training mode.
    Validation, samples, metrics and averages get the weights that are evaluated, and ``model.safetensors`` holds them.
    ``train()`` may round: the core keeps the weights that train and puts them back after it, bit for bit. A checkpoint
    has them as ``train_weights`` next to the state_dict, which it takes in evaluation mode; a run continues by loading
    that, calling ``train()`` and putting them back.
    """

    param_groups: list[dict[str, Any]]

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
