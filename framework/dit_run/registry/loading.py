"""Loading: import a plugin, call its hook and check its components, without importing their factories."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from typing import Any

import pluggy

from dit_run.options import options_of
from dit_run.problems import InputError
from dit_run.registry import hookspecs
from dit_run.registry.components import Component
from dit_run.registry.contract import contract_fault, contract_of_source, stated_contract

__all__ = ["LoadFailure", "Offers", "load_offers", "missing"]

_HOOK = hookspecs.dit_run_components.__name__


@dataclass(frozen=True)
class LoadFailure:
    """The reason why a plugin did not load."""

    message: str
    traceback: str = ""
    places: tuple[tuple[str, int, str], ...] = ()
    """File, line number and code of each call in the traceback, the innermost last."""


@dataclass(frozen=True)
class Offers:
    """The components that a plugin offers, or none and the reason."""

    components: tuple[Component, ...] = ()
    failure: LoadFailure | None = None
    contract: int | None = None
    """Version of the contract that the plugin states; None if it states none or did not load."""


class _Refused(Exception):
    """A plugin that does not do what the hook asks for."""


def load_offers(load: Callable[[], object]) -> Offers:
    """Return what the plugin that ``load`` imports offers.

    Every exception of the plugin is caught, and its output goes to stderr.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            plugin = _imported(load)
            contract = _contract(plugin)
            return Offers(_checked(_called(plugin)), contract=contract)
    except _Refused as error:
        import traceback

        cause = error.__cause__ or error
        frames = traceback.extract_tb(cause.__traceback__)
        places = tuple((frame.filename, frame.lineno or 0, frame.line or "") for frame in frames)
        return Offers(failure=LoadFailure(str(error), "".join(traceback.format_exception(cause)), places))


def _imported(load: Callable[[], object]) -> object:
    try:
        return load()
    except InputError as error:
        raise _Refused(str(error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        later = contract_fault(contract_of_source(error))
        raise _Refused(later or f"its module cannot be imported: {_named(error)}") from error


def _contract(plugin: object) -> int | None:
    """Return the version of the contract that a plugin states, if any."""
    stated = stated_contract(plugin)
    fault = contract_fault(stated)
    if fault is not None:
        raise _Refused(fault)
    return stated if isinstance(stated, int) else None


def _called(plugin: object) -> list[object]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _refuse_other_hooks(manager, plugin)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        raise _Refused(f"{_HOOK}() takes no arguments: {_flat(str(error))}") from error
    if not manager.get_hookcallers(plugin):
        raise _Refused(f"it does not implement the hook; write @hookimpl above def {_HOOK}()")
    try:
        answers = manager.hook.dit_run_components()
        if not answers:
            raise _Refused(f"{_HOOK}() returned nothing; it should return a list of Component")
        return [offer for offered in answers for offer in _iterable(offered)]
    except (_Refused, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _Refused(f"{_HOOK}() raised {_named(error)}") from error


def _refuse_other_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None and (options.get("specname") or name) != _HOOK:
            raise _Refused(f"it implements {name}(), which dit-run never calls; the one hook is {_HOOK}()")


def _iterable(offered: object) -> Iterable[object]:
    if isinstance(offered, Iterable) and not isinstance(offered, str):
        return offered
    raise _Refused(f"{_HOOK}() should return a list of Component, not {offered!r}")


def _checked(offers: Sequence[object]) -> tuple[Component, ...]:
    components: dict[str, Component] = {}
    for offer in offers:
        if not isinstance(offer, Component):
            raise _Refused(f"{_HOOK}() should return Component objects, not {offer!r}")
        if offer.name in components:
            raise _Refused(f"it offers {offer.name} twice")
        _refuse_taken_keys(offer)
        _refuse_missing(offer)
        components[offer.name] = offer
    return tuple(components.values())


def _refuse_taken_keys(component: Component) -> None:
    spec = component.kind.spec
    taken = {"type", *spec.aliases, *(name for option in spec.common_options() for name in option.names)}
    for name in (name for option in options_of(component.options) for name in option.names):
        if name in taken:
            raise _Refused(
                f"{component.name}: an option cannot be named {name!r}, which every {component.kind} has; "
                f"rename it in {component.options.__qualname__}"
            )


def _refuse_missing(component: Component) -> None:
    references = [("factory", component.factory), *(("rule", rule) for rule in component.rules)]
    for role, reference in references:
        fault = missing(reference) if isinstance(reference, str) else None
        if fault:
            raise _Refused(f"{component.name}: the {role} {reference!r} does not resolve: {fault}")


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_flat(str(error))}" if str(error) else type(error).__name__


def _flat(text: str) -> str:
    return " ".join(text.split())


_DYNAMIC = r"__getattr__|import\s*\*|globals\(\)"


def missing(reference: str) -> str | None:
    """Return the part of a reference that does not exist; None if it can probably be imported.

    Finds the module without importing it, and searches its source for the function's name. A name that the source does
    not contain cannot be imported, unless the module creates names while it runs.
    """
    name, _, function = reference.partition(":")
    module = sys.modules.get(name)
    if module is not None and hasattr(module, function):
        return None
    spec = _spec(name)
    if spec is None:
        return f"there is no module {name}"
    source = _source(spec, name)
    if source is None or f"def {function}(" in source or re.search(rf"\b{function}\b|{_DYNAMIC}", source):
        return None
    return f"module {name} has no {function!r}"


def _spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module without importing its packages."""
    path: Sequence[str] | None = None
    spec = None
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        spec = _found(".".join(parts[:length]), path)
        if spec is None or (length < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _found(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    known = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(known, ModuleSpec):
        return known
    finders: list[Any] = sys.meta_path
    specs = (finder.find_spec(name, path) for finder in finders if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def _source(spec: ModuleSpec, name: str) -> str | None:
    read = getattr(spec.loader, "get_source", None)
    if read is None:
        return None
    try:
        text: str | None = read(name)
    except (ImportError, SyntaxError, UnicodeDecodeError):
        return None
    return text
