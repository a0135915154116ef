"""Factories: import a function by its reference, and build a component from its options."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from dit_run.problems import DitRunError
from dit_run.registry.components import Component

__all__ = ["PluginFault", "call", "make", "resolve", "takes"]


class PluginFault(DitRunError):
    """A failure of a plugin that its user cannot repair; names the component or the plugin. Exit status 1."""


def resolve(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that ``"package.module:function"`` names; a callable is returned as it is.

    Raises ImportError or AttributeError as the import does, and TypeError if the object cannot be called.
    """
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{reference} is {function!r}, which cannot be called")
    return function  # type: ignore[no-any-return]


def make(component: Component, options: Any, **runtime: Any) -> Any:
    """Return the object that the component's factory builds, after a look at its attributes.

    Raises DitRunError as the factory does, and PluginFault naming the component for anything else.
    """
    made, spec = call(component, options, **runtime), component.kind.spec
    missing = [name for name in spec.members if not _has(made, name)]
    if missing:
        raise PluginFault(
            f"the factory of {component.name} returned {'None' if made is None else type(made).__name__}, which has no "
            f"{', '.join(missing)}; {spec.protocol.replace(':', '.')} describes the object to return (a fault of the "
            "plugin)"
        )
    fault = resolve(spec.fault)(made) if spec.fault else None
    if fault:
        raise PluginFault(f"{component.name}: {fault} (a fault of the plugin)")
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
    except Exception as error:  # a plugin may raise anything
        said = ": ".join(filter(None, (type(error).__name__, str(error))))
        raise PluginFault(
            f"{component.name} could not be built: {said} (a fault of the plugin; -v shows where)"
        ) from error


def takes(component: Component, keyword: str) -> bool:
    """Return True if the signature of the component's factory names a runtime keyword."""
    return keyword in inspect.signature(resolve(component.factory)).parameters


def _has(made: object, name: str) -> bool:
    """Return True if an object has a member, without evaluating a property."""
    return callable(made) if name == "__call__" else hasattr(type(made), name) or hasattr(made, name)


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
