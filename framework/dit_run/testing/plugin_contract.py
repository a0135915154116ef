"""The contract of every plugin, independent of its kinds."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema

from dit_run.options import documentation, options_of, schema_of, summary
from dit_run.problems import InputError
from dit_run.registry.components import Component
from dit_run.registry.factories import resolve
from dit_run.registry.registry import Plugin, Registry, discover
from dit_run.testing.contract_error import ContractError, Subject
from dit_run.testing.option_checks import reads_every_option, run_rules
from dit_run.testing.plugin_imports import heavy_imports
from dit_run.testing.worker_process import OtherProcess, elsewhere

__all__ = ["COMPONENT_CHECKS", "PLUGIN_CHECKS", "check_plugin", "meant"]


def check_plugin(
    name: str | Path,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    conditional: Sequence[str] = (),
) -> None:
    """Test the promises that every plugin makes.

    It is light to import and documented, its defaults are valid, its factories and rules resolve, and every option has
    an effect. ``name`` is an entry point, a distribution, a module, a type or a plugin file. ``options`` has values for
    components with required options: ``{"dataset.csv": {"path": "…"}}``. ``conditional`` names options that are read
    only with values other than the defaults, ``["optimizer.lion.eps"]``, and do not say so by ``acts_if`` or
    ``acts_unless``. Raises ContractError with the first fault of each component.
    """
    faults = []
    for checks in _checks(name, options or {}, conditional):
        try:
            for check in checks:
                check()
        except ContractError as error:
            faults.append(str(error))
    if faults:
        raise ContractError("\n".join(faults))


def _checks(
    name: str | Path, options: Mapping[str, Mapping[str, Any]], conditional: Sequence[str]
) -> Iterator[list[Callable[[], None]]]:
    """Yield the checks of each plugin and of each component; the first failed check of a list ends it."""
    for plugin, components in meant(name):
        yield [partial(check, plugin) for check in PLUGIN_CHECKS]
        for component in components if plugin.failure is None else ():
            values = options.get(component.name, {})
            yield [
                *(partial(check, component) for check in COMPONENT_CHECKS),
                partial(_dead_options, component, values, plugin, conditional),
            ]


def _dead_options(component: Component, values: Mapping[str, Any], plugin: Plugin, conditional: Sequence[str]) -> None:
    with contextlib.suppress(InputError):
        registry = Registry((plugin,))
        subject = Subject.of(component.kind, component, values, registry)
        if plugin.file is not None:
            subject = replace(subject, files=registry.files)
        reads_every_option(subject, conditional)


def meant(name: str | Path, registry: Registry | None = None) -> list[tuple[Plugin, tuple[Component, ...]]]:
    """Return the plugins and components that an entry point, distribution, module, type or file names.

    Raises InputError if nothing has that name.
    """
    registry = discover() if registry is None else registry
    if isinstance(name, Path) or name.endswith(".py"):
        plugin = registry.with_file(Path(name)).plugins[-1]
        return [(plugin, plugin.components)]
    found = [(plugin, plugin.components) for plugin in registry.plugins if _names(plugin, name)]
    if found:
        return found
    for plugin in registry.plugins:
        components = tuple(c for c in plugin.components if name in (c.name, c.type))
        if components and plugin in registry.rivals(components[0].kind, components[0].type):
            found.append((plugin, components))
    if not found:
        names = ", ".join(plugin.name for plugin in registry.plugins)
        raise InputError(
            f"{name!r} is not the name of a plugin, distribution, component or file; the plugins are {names}"
        )
    return found


def _names(plugin: Plugin, name: str) -> bool:
    module = plugin.source.partition(":")[0]
    distributions = {plugin.distribution.replace("-", "_").lower()} - {""}
    return name in (plugin.name, module, module.split(".")[0]) or name.replace("-", "_").lower() in distributions


# ------------------------------------------------------------------------------------------------------ of a plugin


def loads(plugin: Plugin) -> None:
    """Check that it loads."""
    if plugin.failure:
        raise ContractError(f"plugin {plugin} did not load: {plugin.failure.message}")


def imports_light(plugin: Plugin) -> None:
    """Check that importing the plugin and its rules imports no heavy package."""
    try:
        heavy = elsewhere(heavy_imports, plugin.source, plugin.file)
    except OtherProcess as error:
        raise ContractError(f"plugin {plugin} cannot be imported in a new process: {error}") from error
    if heavy:
        raise ContractError(
            f"importing plugin {plugin} imports {' and '.join(heavy)}, which slows down listing plugins and "
            "checking configs; import them inside functions, or move the factory to another module and name "
            "it as 'package.module:build'"
        )


PLUGIN_CHECKS: tuple[Callable[[Plugin], None], ...] = (loads, imports_light)

# --------------------------------------------------------------------------------------------------- of a component


def is_documented(component: Component) -> None:
    """Check that its options class and every option have a docstring."""
    cls = component.options
    if not summary(cls):
        raise ContractError(
            f"{component.name}: {cls.__qualname__} has no docstring; describe the component in one line"
        )
    texts = documentation(cls)
    for option in options_of(cls):
        if not texts.get(option.name, "").strip():
            raise ContractError(
                f"{component.name}: option {option.name!r} has no documentation; "
                f"write a docstring under {cls.__qualname__}.{option.name}"
            )


def has_a_valid_schema(component: Component) -> None:
    """Check that its options make a valid JSON Schema, and that their defaults keep the limits."""
    schemas = schema_of(component.options, documented=True)
    try:
        jsonschema.Draft7Validator.check_schema({"type": "object", "properties": schemas})
    except jsonschema.SchemaError as error:
        raise ContractError(
            f"{component.name}: its options do not give a valid JSON Schema: {error.message}"
        ) from error
    for option in options_of(component.options):
        if option.required:
            continue
        for fault in jsonschema.Draft7Validator(option.schema).iter_errors(option.default):
            raise ContractError(
                f"{component.name}: the default of option {option.name!r} is not valid: {fault.message}"
            )


def has_a_factory(component: Component) -> None:
    """Check that its factory resolves, and takes no other keywords than its kind offers."""
    factory = _resolved(component, "factory", component.factory)
    parameters = list(inspect.signature(factory).parameters.values())
    if not parameters:
        raise ContractError(f"{component.name}: its factory takes no argument; write def build(options, ...)")
    known = component.kind.spec.runtime
    for parameter in parameters[1:]:
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if needed and parameter.name not in known:
            raise ContractError(
                f"{component.name}: its factory asks for {parameter.name!r}; the runtime keywords of kind "
                f"{component.kind} are {', '.join(known) or 'none'}"
            )


def has_rules_that_work(component: Component) -> None:
    """Check that its rules resolve, and run on a config that chooses the component."""
    for rule in component.rules:
        _resolved(component, "rule", rule)
    if not any(option.required for option in options_of(component.options)):
        run_rules(Subject(component, component.options()))


def _resolved(component: Component, role: str, reference: str | Callable[..., Any]) -> Callable[..., Any]:
    try:
        return resolve(reference)
    except Exception as error:
        raise ContractError(
            f"{component.name}: its {role} {reference!r} does not resolve: {type(error).__name__}: {error}"
        ) from error


COMPONENT_CHECKS: tuple[Callable[[Component], None], ...] = (
    is_documented,
    has_a_valid_schema,
    has_a_factory,
    has_rules_that_work,
)
