"""Factories: from ``"package.module:function"`` to the function, and from options to the thing itself."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dit_run import protocols
from dit_run.problems import DitRunError
from dit_run.registry.components import Component, Kind

__all__ = ["RUNTIME", "PluginFault", "call", "make", "resolve"]

RUNTIME: Mapping[Kind, tuple[str, ...]] = {
    Kind.DATASET: ("image_size",),
    Kind.TEXT_ENCODER: (),
    Kind.VAE: (),
    Kind.MODEL: ("latent_channels", "text_width", "pooled_width"),
    Kind.SCHEDULER: ("latent_shape",),
    Kind.OPTIMIZER: ("named_parameters", "roles", "learning_rate", "device"),
    Kind.LR_SCHEDULER: ("total_steps",),
    Kind.TRACKER: ("run_dir", "start_step"),
    Kind.METRIC: ("config", "references"),
    Kind.CALLBACK: ("run_dir",),
}
"""What the factories of each kind can ask for; :mod:`dit_run.protocols` says what each is."""

_PROTOCOLS: Mapping[Kind, type] = {
    Kind.DATASET: protocols.Dataset,
    Kind.TEXT_ENCODER: protocols.TextEncoder,
    Kind.VAE: protocols.VAE,
    Kind.MODEL: protocols.Model,
    Kind.SCHEDULER: protocols.Scheduler,
    Kind.LR_SCHEDULER: protocols.LearningRateFactor,
    Kind.TRACKER: protocols.Tracker,
    Kind.METRIC: protocols.Metric,
}
_TORCH = {
    Kind.OPTIMIZER: ("param_groups", "step", "zero_grad", "state_dict", "load_state_dict"),
    **dict.fromkeys((Kind.TEXT_ENCODER, Kind.VAE, Kind.MODEL), ("parameters", "state_dict", "to")),
}
"""What they have as torch's optimizers and modules."""


class PluginFault(DitRunError):
    """A plugin failed in a way that its user cannot mend; names the component or the plugin. Exit status 1."""


def resolve(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function that ``"package.module:function"`` names; a callable is itself.

    Raises ImportError or AttributeError as the import does, TypeError when what it names cannot be called.
    """
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{reference} is {function!r}, which cannot be called")
    return function  # type: ignore[no-any-return]


def make(component: Component, options: Any, **runtime: Any) -> Any:
    """What the component's factory makes, looked at from outside: it has what its kind must have.

    Raises DitRunError as the factory does, and PluginFault naming the component for anything else.
    """
    made = call(component, options, **runtime)
    lacking = [name for name in _members(component.kind) if not _has(made, name)]
    if lacking:
        raise PluginFault(
            f"the factory of {component.name} returned {'None' if made is None else type(made).__name__}, which has no "
            f"{', '.join(lacking)}; dit_run.protocols says what it should return (a fault of the plugin)"
        )
    return made


def call(component: Component, options: Any, **runtime: Any) -> Any:
    """Call the component's factory with its options and those of the runtime keywords that its signature names.

    Raises DitRunError as the factory does, and PluginFault naming the component for anything else.
    """
    try:
        factory = resolve(component.factory)
        return factory(options, **_accepted(component, factory, runtime))
    except DitRunError:
        raise
    except Exception as error:  # a plugin may raise anything, and is named
        said = ": ".join(filter(None, (type(error).__name__, str(error))))
        raise PluginFault(
            f"{component.name} could not be made: {said} (a fault of the plugin; -v shows where)"
        ) from error


def _has(made: object, name: str) -> bool:
    """Without asking a property of its class for its value."""
    return callable(made) if name == "__call__" else hasattr(type(made), name) or hasattr(made, name)


@cache
def _members(kind: Kind) -> tuple[str, ...]:
    """What everything of a kind has; a callback is free to have any of its methods, and what is not kept needs no
    fingerprint."""
    protocol = _PROTOCOLS.get(kind)
    declared = [*inspect.get_annotations(protocol), *vars(protocol)] if protocol else []
    wanted = [name for name in declared if not name.startswith("_") or name in ("__call__", "__len__", "__getitem__")]
    return (*(name for name in wanted if name != "fingerprint"), *_TORCH.get(kind, ()))


def _accepted(component: Component, factory: Callable[..., Any], runtime: dict[str, Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    unknown = sorted(p.name for p in parameters if p.name not in runtime and p.default is p.empty and p.name in named)
    if unknown:
        raise PluginFault(
            f"the factory of {component.name} asks for {', '.join(unknown)}; the runtime keywords of kind "
            f"{component.kind} are {', '.join(sorted(runtime)) or 'none'}"
        )
    return {name: value for name, value in runtime.items() if name in named}
