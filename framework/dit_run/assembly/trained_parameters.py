"""The parameters that train: those that the config does not freeze, with the factors on their learning rates."""

from __future__ import annotations

from collections.abc import Mapping

from dit_run.model.denoiser import Denoiser, checkpoint_name, trainable_parameters
from dit_run.model.name_patterns import chosen_names, factors_of
from dit_run.problems import InputError
from dit_run.protocols import NamedParameters

__all__ = ["by_factor", "freeze"]


def freeze(denoiser: Denoiser, patterns: tuple[str, ...]) -> None:
    """Take the parameters that ``training.freeze`` names out of training; checkpoints still hold them.

    Raises InputError for a pattern that names none, and where nothing would be left to train.
    """
    parameters = {checkpoint_name(name): parameter for name, parameter in trainable_parameters(denoiser)}
    frozen = chosen_names(patterns, parameters, key="training.freeze", noun="parameter")
    if parameters and len(frozen) == len(parameters):
        raise InputError("training.freeze names all parameters, so that nothing is left to train; remove a pattern")
    for name in frozen:
        parameters[name].requires_grad_(False)


def by_factor(named: NamedParameters, factors: Mapping[str, float]) -> dict[float, NamedParameters]:
    """Return the parameters by their factor from ``training.learning_rate_factors``, those with factor 1 first.

    Raises InputError for a pattern that names no parameter that trains.
    """
    names = [checkpoint_name(name) for name, _ in named]
    found = factors_of(factors, names, key="training.learning_rate_factors", noun="parameter that trains")
    return {
        factor: [each for each, name in zip(named, names, strict=True) if found[name] == factor]
        for factor in sorted(set(found.values()), key=lambda factor: (factor != 1, factor))
    }
