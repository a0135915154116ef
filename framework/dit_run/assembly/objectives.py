"""The objectives of a run, built from a checked config, each with its name, weight and steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dit_run.assembly.parts import seeded
from dit_run.config.rule_checks import patch_size
from dit_run.model.denoiser import Denoiser
from dit_run.problems import InputError
from dit_run.protocols import ImageEncoder, Objective
from dit_run.registry.factories import PluginFault
from dit_run.registry.kind_options import ObjectiveCommon
from dit_run.settings import Choice, Config, numbered

__all__ = ["ActiveObjective", "build_objectives", "features_of"]


@dataclass(frozen=True)
class ActiveObjective:
    """An objective with its place in a run."""

    name: str
    """Its type; with a number where a config has several of this type."""
    objective: Objective
    weight: float = 1.0
    start: int = 0
    """First step at which it acts, counted from 0."""
    end: float = float("inf")
    """Step from which on it no longer acts."""
    alone: bool = True
    """True if it is the only objective: its loss is then that of the run, and is not logged again."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the further values that it returns for the log."""
        return tuple(getattr(self.objective, "parts", ()))

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the states inside the model that it reads."""
        return tuple(getattr(self.objective, "taps", ()))

    @property
    def logged(self) -> tuple[str, ...]:
        """Names of the values that are logged: its loss, unless it is alone, and its parts."""
        own = () if self.alone else (f"objective/{self.name}",)
        return (*own, *(f"objective/{self.name}/{part}" for part in self.parts))

    def acts(self, step: int) -> bool:
        """Return True if it acts at this step, counted from 0."""
        return self.start <= step < self.end


def build_objectives(
    config: Config, denoiser: Denoiser, device: torch.device, *, total_steps: int | None = None, latent_factor: int = 1
) -> tuple[ActiveObjective, ...]:
    """Return the objectives of a run of ``total_steps``; the denoiser takes the modules that they train.

    Without a total they act at every step, as in trials, whose steps are not those of a run. Raises InputError for an
    objective that reads states which the model does not offer, or gives a second timestep that it does not take.
    """
    choices = config.chosen("objective")
    runtime = {"device": device, "taps": denoiser.taps, "token_size": latent_factor * patch_size(config)}
    built = tuple(
        ActiveObjective(
            name,
            _objective(config, name, choice, runtime),
            choice.common.weight,
            *_steps(choice.common, total_steps),
            alone=len(choices) == 1,
        )
        for name, choice in zip(numbered(choice.type for choice in choices), choices, strict=True)
    )
    for each in built:
        _refuse_missing_taps(each, denoiser, config.model.type)
        _refuse_missing_second_time(each, denoiser, config.model.type)
    denoiser.add_objectives({each.name: module for each in built if (module := _trained(each.objective)) is not None})
    return built


def _steps(common: ObjectiveCommon, total: int | None) -> tuple[int, float]:
    """Return the first step at which an objective acts, and the step from which on it no longer acts."""
    if total is None:
        return 0, float("inf")
    return round(common.start * total), round(common.until * total) if common.until < 1 else float("inf")


def features_of(objectives: Iterable[ActiveObjective]) -> dict[str, ImageEncoder]:
    """Return the frozen networks whose outputs objectives compare with, by the objectives' names."""
    found = ((each.name, getattr(each.objective, "features", None)) for each in objectives)
    return {name: encoder for name, encoder in found if encoder is not None}


def _refuse_missing_taps(each: ActiveObjective, denoiser: Denoiser, model: str) -> None:
    missing = [tap for tap in each.taps if tap not in denoiser.taps]
    if missing:
        offered = ", ".join(denoiser.taps) or "none"
        raise InputError(
            f"objective {each.name} reads the states {', '.join(missing)} inside the model, and model {model} offers "
            f"{offered}"
        )


def _refuse_missing_second_time(each: ActiveObjective, denoiser: Denoiser, model: str) -> None:
    if getattr(each.objective, "second_time", False) and not denoiser.second_time:
        raise InputError(
            f"objective {each.name} gives the model a second timestep, and model {model} takes none; a model that does "
            "may have an option for it, such as model.second_time: true"
        )


def _objective(config: Config, name: str, choice: Choice, runtime: Mapping[str, Any]) -> Objective:
    """Return an objective; its trained module moves to the device with the denoiser."""
    objective: Objective = seeded(config, f"objective.{name}", choice, **runtime)
    trained: Any = getattr(objective, "trained", None)
    if trained is not None and not isinstance(trained, nn.Module):
        raise PluginFault(
            f"objective {choice.type} has the attribute trained of type {type(trained).__name__}; let it be a "
            "torch.nn.Module, or leave it out (a fault of the plugin)"
        )
    return objective


def _trained(objective: Objective) -> nn.Module | None:
    module: nn.Module | None = getattr(objective, "trained", None)
    return module
