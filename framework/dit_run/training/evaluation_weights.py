"""The weights on which a model is evaluated, where its optimizer tells them from those that train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from dit_run.compute.sharding import copy_into
from dit_run.compute.split_tensor import StoredTensor
from dit_run.model.denoiser import trainable_parameters
from dit_run.problems import InputError

__all__ = ["EvaluationWeights", "has_modes", "start_training"]


def has_modes(optimizer: torch.optim.Optimizer) -> bool:
    """Return True if the optimizer evaluates on other weights than it trains: it has ``train()`` and ``eval()``."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def start_training(optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer into training mode, if it has one."""
    if has_modes(optimizer):
        optimizer.train()  # type: ignore[attr-defined]


class EvaluationWeights:
    """Shows a module's evaluation weights for a while. Without modes of the optimizer they are those that train.

    The weights that train are copied meanwhile and put back bit for bit, because the optimizer's own way back rounds.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._parameters = dict(trainable_parameters(module))
        self._optimizer = optimizer
        self._kept: dict[str, Tensor] | None = None

    @property
    def kept(self) -> Mapping[str, Tensor] | None:
        """The weights that train, by name, while the evaluation weights are shown; else None."""
        return self._kept

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the module have its evaluation weights; inside another such context nothing changes."""
        if self._kept is not None or not has_modes(self._optimizer):
            yield
            return
        kept = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._kept = kept
        try:
            self._optimizer.eval()  # type: ignore[attr-defined]
            yield
        finally:
            self.restore(kept)
            self._kept = None

    @torch.no_grad()
    def restore(self, kept: Mapping[str, StoredTensor] | None) -> None:
        """Begin to train, with the weights of :attr:`kept`; with None, those that the module has, or were evaluated.

        Raises InputError for weights of other names or shapes.
        """
        start_training(self._optimizer)
        if kept is None:
            return
        for name, parameter in self._parameters.items():
            if name not in kept or kept[name].shape != parameter.shape:
                raise InputError(f"the weights that train have no {name} of shape {tuple(parameter.shape)}")
            copy_into(parameter, kept[name])
