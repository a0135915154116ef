"""The component under test, and the helpers that all contract tests share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dit_run.config.suggestions import did_you_mean
from dit_run.options import build, options_of, schema_of
from dit_run.problems import InputError
from dit_run.registry.components import Component, Kind
from dit_run.registry.factories import PluginFault, call
from dit_run.registry.plugin_files import PluginFiles
from dit_run.registry.registry import Origin, Plugin, Registry, discover
from dit_run.testing.network_guard import no_network

__all__ = ["Check", "ContractError", "Subject", "check_all", "neutral", "refuse_wrong"]


class ContractError(AssertionError):
    """A component breaks its contract; the message says what to change."""


@dataclass(frozen=True)
class Subject:
    """A component under test, with its options."""

    component: Component
    options: Any
    files: PluginFiles = PluginFiles()  # noqa: RUF009 (frozen)
    """The plugin file of the component, which another process has to import."""

    @classmethod
    def of(
        cls,
        kind: Kind,
        meant: Component | str | Path,
        values: Mapping[str, Any],
        registry: Registry | None = None,
    ) -> Subject:
        """Return the component that a test names: itself, an installed type, or the one of this kind in a plugin file.

        Raises InputError if there is no such component, or if its options refuse the values.
        """
        if isinstance(meant, Component):
            if meant.kind is not kind:
                raise InputError(f"{meant.name} is not a component of kind {kind}")
            return cls(meant, options_from(meant, values))
        if isinstance(meant, Path) or meant.endswith(".py"):
            registry = Registry().with_file(Path(meant))
            types = registry.types(kind)
            if len(types) != 1:
                raise InputError(
                    f"{meant} offers {len(types)} components of kind {kind}; a file with exactly one is expected here"
                )
            meant = types[0]
        registry = discover() if registry is None else registry
        component = registry.component(kind, meant)
        return cls(component, options_from(component, values), registry.files)

    def make(self, **runtime: Any) -> Any:
        """Return the result of the factory; an InputError of the factory passes through."""
        try:
            return call(self.component, self.options, **runtime)
        except PluginFault as error:
            raise ContractError(str(error)) from error

    def expect(self, kept: bool, fault: str) -> None:
        """Raise ContractError unless a promise is kept; ``fault`` says what is wrong and what to change."""
        if not kept:
            self.fail(fault)

    def fail(self, fault: str) -> NoReturn:
        raise ContractError(f"{self.component.name}: {fault}")

    def methods(self, thing: Any, names: Sequence[str], advice: str) -> None:
        """Check that the built object has these methods."""
        for name in names:
            self.expect(
                callable(getattr(thing, name, None)), f"{type(thing).__name__} has no method {name}(); {advice}"
            )

    def attribute(self, thing: Any, name: str, kind: type, of: str) -> Any:
        """Return an attribute of the built object, which must have the type that the protocol ``of`` names."""
        value = getattr(thing, name, None)
        good = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        came = f"is {value!r}" if hasattr(thing, name) else "is missing"
        self.expect(good, f"{of}.{name} {came}; set it to {_article(kind)} (dit_run.protocols.{of})")
        return value


Check = Callable[[Subject], None]
"""The test of one promise. Its docstring, "Check that …", is the line in the report of ``dit-run plugins check``."""


def check_all(subject: Subject, checks: Sequence[Check]) -> None:
    """Raise ContractError at the first broken promise; leave the global random generators unchanged.

    Trackers and callbacks get no network, so that a test posts nothing to a real service.
    """
    for check in checks:
        with neutral(), _offline(subject) if subject.component.kind in _POSTING else contextlib.nullcontext():
            check(subject)


_POSTING = (Kind.TRACKER, Kind.CALLBACK)


@contextlib.contextmanager
def _offline(subject: Subject) -> Iterator[None]:
    with no_network() as refused:
        try:
            yield
        except Exception as error:
            if not refused:
                raise
            kind = subject.component.kind
            raise ContractError(
                f"{subject.component.name}: it needs {refused[0]}, and a contract test uses no network; give it an "
                f"option that keeps it offline, and test it with check_{kind}(..., option=value) or dit-run plugins "
                f"check NAME option=value. It failed with {type(error).__name__}: {error}"
            ) from error


@contextlib.contextmanager
def neutral() -> Iterator[None]:
    """Restore the global random generators of torch, numpy and Python at the end."""
    import random

    import numpy as np
    import torch

    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


def options_from(component: Component, values: Mapping[str, Any]) -> Any:
    """Return the component's options with these values, checked as those of a config.

    Raises InputError for values that are not valid.
    """
    refuse_wrong(component, values)
    missing = [option.name for option in options_of(component.options) if option.required and option.name not in values]
    if missing:
        texts = (f"{name!r} must be given, as in check_{component.kind}(..., {name}=...)" for name in missing)
        raise InputError(f"options of {component.name}: {'; '.join(texts)}")
    if any(option.components for option in options_of(component.options)):
        return _with_components(component, _plain(values))
    return build(component.options, _plain(values))


def _with_components(component: Component, values: Mapping[str, Any]) -> Any:
    """Return options that hold other components, which are those of installed plugins, as a config would have them."""
    from dit_run.testing.tiny_run import tiny_config

    plugin = Plugin("checked", Origin.FILE, "checked", components=(component,))
    chosen = {"type": component.type, **values}
    section = {component.kind.section: [chosen] if component.kind.listed else chosen}
    with tempfile.TemporaryDirectory() as folder:
        config = tiny_config(Path(folder), section, Registry((*discover(third_party=False).plugins, plugin)))
    found = config.sections[component.kind.section]
    return (found[0] if component.kind.listed else found).options


def refuse_wrong(component: Component, values: Mapping[str, Any]) -> None:
    """Raise InputError for an option that the component does not have, or a value that the option refuses."""
    import jsonschema

    known = [option.name for option in options_of(component.options)]
    unknown = (name for name in values if name not in known)
    texts = [", ".join((f"there is no option {name!r}", *did_you_mean(name, known))) for name in unknown]
    schema = {"type": "object", "properties": schema_of(component.options)}
    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(_plain(values)), key=lambda error: str(error.path))
    texts += [f"{'.'.join(map(str, error.path))}: {error.message}" for error in errors]
    if texts:
        raise InputError(f"options of {component.name}: {'; '.join(texts)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _article(kind: type) -> str:
    return {bool: "True or False", int: "a whole number", str: "a string", tuple: "a tuple"}.get(kind, kind.__name__)
