"""The report of the contract tests that ``dit-run plugins check`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dit_run.config.nodes import value_of
from dit_run.config.suggestions import did_you_mean
from dit_run.config.yaml_parser import parse, read_source
from dit_run.options import options_of
from dit_run.problems import ConfigError, InputError
from dit_run.registry.components import Component
from dit_run.registry.registry import Plugin, Registry
from dit_run.testing.contract_error import Check, ContractError, Subject, check_all, refuse_wrong
from dit_run.testing.contract_table import CONTRACTS
from dit_run.testing.option_checks import reads_every_option
from dit_run.testing.plugin_contract import COMPONENT_CHECKS, PLUGIN_CHECKS, meant

__all__ = ["ContractFinding", "check"]


@dataclass(frozen=True)
class ContractFinding:
    """The result of one check."""

    state: Literal["ok", "FAIL", "not run"]
    subject: str
    text: str


def check(name: str, given: Sequence[str], registry: Registry) -> list[ContractFinding]:
    """Check all promises of the plugins and components that ``name`` means.

    ``given`` has ``option=value`` arguments for the factories; a component gets those that it has. Raises InputError if
    nothing has that name, if none of the components has an option, and for a value that an option refuses.
    """
    values, found = _values(given), meant(name, registry)
    _refuse_wrong(values, [component for _, components in found for component in components])
    findings: list[ContractFinding] = []
    for plugin, components in found:
        findings += [_finding(f"plugin {plugin.name}", check, plugin) for check in PLUGIN_CHECKS]
        for component in components if plugin.failure is None else ():
            findings += _component(component, _own(values, component), plugin, name)
    return findings


def _values(given: Sequence[str]) -> Mapping[str, Any]:
    """Read ``option=value`` arguments as a config would."""
    lines = ["{}" if not given else ""] + [": ".join(word.split("=", 1)) for word in given]
    source, problems = read_source("\n".join(lines).encode(), "command line", Path())
    node, more = parse(source)
    if problems or more or node is None:
        raise ConfigError([*problems, *more])
    values = value_of(node)
    assert isinstance(values, dict)
    return values


def _own(values: Mapping[str, Any], component: Component) -> dict[str, Any]:
    known = {option.name for option in options_of(component.options)}
    return {name: value for name, value in values.items() if name in known}


def _refuse_wrong(values: Mapping[str, Any], components: Sequence[Component]) -> None:
    """Raise InputError for a value that no component takes; plugins that did not load have no components."""
    for component in components:
        refuse_wrong(component, values if len(components) == 1 else _own(values, component))
    known = [option.name for component in components for option in options_of(component.options)]
    unknown = next((name for name in values if name not in known), None) if components else None
    if unknown is not None:
        names = ", ".join(component.name for component in components)
        raise InputError("; ".join((f"none of {names} has an option {unknown!r}", *did_you_mean(unknown, known))))


def _component(component: Component, values: Mapping[str, Any], plugin: Plugin, name: str) -> Iterator[ContractFinding]:
    yield from (_finding(component.name, check, component) for check in COMPONENT_CHECKS)
    try:
        subject = Subject.of(component.kind, component, values)
        subject = replace(subject, files=Registry((plugin,)).files)
        yield from _contract(subject)
    except InputError as error:
        checked = name if name.endswith(".py") else component.name
        help_ = f"to check it, give values: dit-run plugins check {checked} option=value"
        yield ContractFinding("not run", component.name, f"{error}; {help_}")


def _contract(subject: Subject) -> Iterator[ContractFinding]:
    """Yield the promises of the kind, each fault once, and then the check of the options."""
    name, broken = subject.component.name, set[str]()
    for check in CONTRACTS[subject.component.kind]:
        finding = _finding(name, partial(_one, check), subject, check.__doc__)
        if finding.text not in broken:
            yield finding
        if finding.state == "FAIL":
            broken.add(finding.text)
    if broken:
        yield ContractFinding("not run", name, "the check that every option is read; repair the other faults first")
    else:
        yield _finding(name, reads_every_option, subject)


def _one(check: Check, subject: Subject) -> None:
    check_all(subject, [check])


def _finding(name: str, check: Callable[[Any], None], subject: Any, text: str | None = None) -> ContractFinding:
    """Run one check and return its result; raise InputError where the factory does."""
    promise = (text or check.__doc__ or "").strip().splitlines()[0].removeprefix("Check that ").rstrip(".")
    try:
        check(subject)
    except ContractError as error:
        return ContractFinding("FAIL", name, str(error).removeprefix(f"{name}: ").removeprefix(f"{name} "))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
        return ContractFinding("FAIL", name, f"{promise}: {type(error).__name__}: {error}")
    return ContractFinding("ok", name, promise)
