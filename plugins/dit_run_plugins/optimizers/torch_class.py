"""torch: any class of ``torch.optim``, by its name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from dit_run.options import NonNegativeFloat, bounds
from dit_run.problems import InputError, Problem
from dit_run.protocols import NamedParameters, ParameterRole, RuleContext
from dit_run_plugins.optimizers.torch_signatures import Signature, class_names, read_signature

if TYPE_CHECKING:
    import torch

__all__ = ["TorchClass", "build", "class_fits", "shards_fit"]

Scalar = int | float | bool | str
Argument = Scalar | tuple[Scalar, ...] | None

_REFUSED: Mapping[str, str] = {
    "SparseAdam": "it takes sparse gradients, and those of these models are dense",
    "Muon": "it takes matrices alone; `type: muon` gives AdamW the other parameters",
    "Rprop": "it needs the gradient of the whole dataset, and its step sizes ignore the learning rate",
}
_ELSEWHERE: Mapping[str, str] = {
    "params": "the trained parameters are given to it",
    "lr": "the learning rate is training.learning_rate",
    "weight_decay": "the weight decay is optimizer.weight_decay, which spares norms, biases and embeddings",
    "maximize": "a run minimises its loss",
    "differentiable": "a run takes no gradient through its steps",
}
"""Arguments that a config may not write, and why."""


@dataclass(frozen=True, kw_only=True)
class TorchClass:
    """Any optimizer of PyTorch by the name of its class, such as RAdam, NAdam, Adafactor, SGD or RMSprop."""

    name: Annotated[str, bounds(min_length=1)]
    """Class of `torch.optim`."""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the class, such as `betas`; the others have the defaults of the class."""
    weight_decay: NonNegativeFloat | None = None
    """Decay of the weights of linear and convolution layers, as the class defines it. Norms, biases and embeddings do
    not decay. null takes the default of the class."""


def build(
    options: TorchClass,
    *,
    named_parameters: NamedParameters,
    roles: Mapping[str, ParameterRole],
    learning_rate: float,
) -> torch.optim.Optimizer:
    """Return the optimizer. Raises InputError for a class or arguments that do not fit."""
    from dit_run_plugins.optimizers.decay_groups import decay_groups

    for _, message, _ in _faults(options):
        raise InputError(message)
    decay = options.weight_decay if options.weight_decay is not None else _default_decay(options.name)
    groups = [{"params": [parameter for _, parameter in named_parameters]}]
    return _construct(options, groups if decay is None else decay_groups(named_parameters, roles, decay), learning_rate)


def class_fits(context: RuleContext) -> Iterator[Problem]:
    """Refuse an unknown class or argument, and values that the class refuses."""
    faults = list(_faults(context.options))
    for key, message, help_ in faults:
        yield Problem("torch-optimizer", message, (*context.path, *key), help=help_)
    if not faults and "torch" in sys.modules:  # in a run; a rule imports nothing heavy
        try:
            _try(context.options)
        except InputError as error:
            yield Problem("torch-optimizer", str(error), (*context.path, "arguments"))


def shards_fit(context: RuleContext) -> Iterator[Problem]:
    """Refuse a class with sums over rows and columns, which sharded weights would add in another order."""
    training, name = context.config.training, context.options.name
    if name == "Adafactor" and training.elastic_exact and training.shard != 1:
        yield Problem(
            "not-sharded",
            f"training.elastic_exact is true and training.shard is {training.shard}, but optimizer.name {name} keeps "
            "sums over the rows and columns of a matrix, which processes that share it do not have",
            (*context.path, "name"),
            related=(("training", "elastic_exact"), ("training", "shard")),
            help=("choose another class, or set training.shard: 1 or elastic_exact: false",),
        )


Fault = tuple[tuple[str, ...], str, tuple[str, ...]]
"""Key in the section, message and help."""


def _faults(options: TorchClass) -> Iterator[Fault]:
    from dit_run.config.suggestions import did_you_mean

    name, names = options.name, class_names()
    if name not in names:
        known = ", ".join(sorted(set(names) - set(_REFUSED) - {"LBFGS"}))
        yield ("name",), f"torch.optim has no optimizer {name!r}; it has {known}", did_you_mean(name, names)
        return
    signature = read_signature(name)
    reason = _REFUSED.get(name) or (
        "it computes the loss several times in each step (a closure), and a step of a run does so once"
        if signature.needs_closure
        else ""
    )
    if reason:
        yield ("name",), f"optimizer.name {name} cannot train here: {reason}", ()
        return
    for argument, value in options.arguments.items():
        yield from _argument_faults(signature, argument, value)
    if options.weight_decay is not None and "weight_decay" not in signature.parameters:
        yield ("weight_decay",), f"torch.optim.{name} has no weight decay; remove optimizer.weight_decay", ()


def _argument_faults(signature: Signature, argument: str, value: Any) -> Iterator[Fault]:
    from dit_run.config.suggestions import did_you_mean

    where = ("arguments", argument)
    if argument in _ELSEWHERE:
        yield where, f"optimizer.arguments cannot have {argument}: {_ELSEWHERE[argument]}", ()
    elif argument not in signature.parameters:
        known = [each for each in signature.parameters if each not in _ELSEWHERE]
        message = f"torch.optim.{signature.name} has no argument {argument!r}; it has {', '.join(known)}"
        yield where, message, did_you_mean(argument, known)
    elif not signature.parameters[argument].takes(value):
        expected = signature.parameters[argument].expected
        written = list(value) if isinstance(value, tuple) else value
        yield where, f"optimizer.arguments.{argument} of {signature.name} is {expected}, not {written!r}", ()


def _default_decay(name: str) -> float | None:
    """Return the weight decay that a class has by default; None for a class without one."""
    parameter = read_signature(name).parameters.get("weight_decay")
    return None if parameter is None else float(parameter.default)


def _try(options: TorchClass) -> None:
    import torch

    _construct(options, [{"params": [torch.nn.Parameter(torch.zeros(1))]}], 1e-3)


def _construct(options: TorchClass, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
    import torch

    cls: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, options.name)
    try:
        return cls(groups, lr=learning_rate, **options.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"torch.optim.{options.name} refuses optimizer.arguments: {error}") from error
