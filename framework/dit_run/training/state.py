"""The state of training: everything that the next step depends on, which a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dit_run.compute.split_tensor import StoredTensor
from dit_run.model.denoiser import Denoiser
from dit_run.problems import InputError
from dit_run.runs.checkpoint.weights import EMA, average_stem
from dit_run.training.average import Average
from dit_run.training.evaluation_weights import EvaluationWeights
from dit_run.training.meters import Meters
from dit_run.training.nonfinite import NonFiniteGuard

__all__ = ["TRAIN_WEIGHTS", "TrainState"]

TRAIN_WEIGHTS = "train_weights"
"""Key next to the optimizer's own state: the weights that train, where the saved ones are those that are evaluated."""


@dataclass
class TrainState:
    """The state of a run after ``step`` steps."""

    denoiser: Denoiser
    averages: Mapping[str, Average[Denoiser]]
    """Averages of the weights by name."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    meters: Meters
    nonfinite: NonFiniteGuard
    """Counts bad steps in a row."""
    best: dict[str, Any] = field(default_factory=dict)
    """Lowest validation loss of the steps that were saved, as ``loss``, and its ``step``."""
    step: int = 0
    """Optimizer steps done."""
    evaluation: EvaluationWeights = field(init=False)
    """Shows the weights that are evaluated and saved, for an optimizer that trains others."""

    def __post_init__(self) -> None:
        self.evaluation = EvaluationWeights(self.denoiser, self.optimizer)

    @property
    def denoisers(self) -> list[Denoiser]:
        """The denoiser with the live weights, and those with averages."""
        return [self.denoiser, *(average.module for average in self.averages.values())]

    def is_finite(self) -> bool:
        """Return True if all weights, and their averages, are finite numbers."""
        return all(bool(torch.isfinite(values).all()) for each in self.denoisers for values in each.tensors().values())

    def state_dict(self) -> dict[str, Any]:
        """Return tensors as ``model``, ``averages`` by name and ``optimizer``, the rest as JSON values.

        While evaluation weights are shown, ``model`` has those, and ``optimizer`` has those that train, too.
        """
        kept = self.evaluation.kept
        return {
            "model": self.denoiser.tensors(),
            "averages": {name: average.module.tensors() for name, average in self.averages.items()},
            "optimizer": self.optimizer.state_dict() | ({} if kept is None else {TRAIN_WEIGHTS: dict(kept)}),
            "meters": self.meters.state_dict(),
            "best": self.best,
            "bad_steps": self.nonfinite.in_a_row,
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, values: Mapping[str, Any], *, where: str) -> None:
        """Take over the values of :meth:`state_dict`.

        Raises InputError, naming ``where`` they are from, for weights or an optimizer of another shape.
        """
        self.load_weights(values["model"], values["averages"], where=where)
        optimizer = dict(values["optimizer"])
        kept = optimizer.pop(TRAIN_WEIGHTS, None)
        try:
            self.optimizer.load_state_dict(optimizer)
            self.evaluation.restore(kept)
        except (ValueError, KeyError, InputError) as error:
            raise InputError(f"the optimizer state in {where} does not fit this config's optimizer: {error}") from error
        if self.scaler.is_enabled() and values["scaler"]:  # it is empty where fp16 was not used before
            self.scaler.load_state_dict(values["scaler"])
        self.meters.load_state_dict(values["meters"])
        self.best = dict(values["best"])
        self.nonfinite.in_a_row = values["bad_steps"]
        self.step = values["step"]

    def load_weights(
        self, weights: Mapping[str, StoredTensor], averages: Mapping[str, Mapping[str, StoredTensor]], *, where: str
    ) -> None:
        """Take over weights and their averages. Raises InputError where they do not fit."""
        self.denoiser.load_tensors(weights, where=where)
        for name, average in self.averages.items():
            if name not in averages:
                key = "training.use_ema is true" if name == EMA else "the config keeps this average"
                raise InputError(f"{where} has no {average_stem(name)}.safetensors, and {key}")
            average.module.load_tensors(averages[name], where=where)
