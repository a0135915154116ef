"""Checks of options: the rules of a component, and that each option is read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dit_run.options import Option, options_of, plain
from dit_run.problems import ConfigError, InputError
from dit_run.registry.registry import Origin, Plugin, Registry, discover
from dit_run.testing.contract_error import ContractError, Subject, check_all, neutral
from dit_run.testing.contract_table import CONTRACTS
from dit_run.testing.option_reads import recorded
from dit_run.testing.tiny_run import tiny_config

__all__ = ["reads_every_option", "run_rules"]


def run_rules(subject: Subject) -> None:
    """Load a config that chooses the component; raise ContractError if one of its rules fails."""
    component, values = subject.component, {"type": subject.component.type, **plain(subject.options)}
    plugin = Plugin("checked", Origin.FILE, "checked", components=(component,))
    registry = Registry((*discover(third_party=False).plugins, plugin))
    section = {component.kind.section: [values] if component.kind.listed else values}
    try:
        with tempfile.TemporaryDirectory() as folder:
            tiny_config(Path(folder), section, registry)
    except ConfigError as error:
        for problem in error.problems:
            if problem.code == "rule-failed":
                raise ContractError(f"{component.name}: {problem.message}") from error


def reads_every_option(subject: Subject, conditional: Sequence[str] = ()) -> None:
    """Check that every option is read by the factory, the object that it builds, or a rule.

    The component is used with the options of the subject, and with each other value of each option that has a fixed
    list of values. An option that acts only with values of others that none of these have, by its ``acts_if`` or
    ``acts_unless``, may stay unread, as may those that ``conditional`` names. Raises ContractError for an option that
    is never read. If the component fails before all options are read, that failure is raised instead.
    """
    component, changes = subject.component, list(_changes(subject.options))
    excused = {name.removeprefix(f"{component.name}.") for name in conditional}
    expected = {o.name for o in options_of(component.options) if _acts(o, subject.options, changes)} - excused
    failures: list[Exception] = []
    with recorded(component.options) as seen:
        for change in changes:
            if expected <= seen:
                return
            failures += _use(replace(subject, options=replace(subject.options, **change)))
    unread = [option.name for option in options_of(component.options) if option.name in expected - seen]
    if unread and failures:
        raise failures[0]  # before that option could be read
    if unread:
        raise ContractError(
            f"{component.name}: option {unread[0]!r} is never read; "
            "use it, or remove it (if it is read only with other values of other options, say so with acts_if or "
            f"acts_unless in its hint, or pass conditional=['{component.name}.{unread[0]}'])"
        )


def _changes(options: Any) -> Iterator[Mapping[str, Any]]:
    """Yield no change, then each other value of each option with a fixed list of values."""
    yield {}
    for option in options_of(type(options)):
        choices = option.schema.get("enum", [True, False] if option.schema["type"] == "boolean" else [])
        for choice in choices:
            if choice != getattr(options, option.name):
                yield {option.name: choice}


def _acts(option: Option, options: Any, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if one of the changes meets the conditions of an option on others of its class."""
    own = {other.name for other in options_of(type(options))}
    conditions = [condition for condition in option.conditions if condition.key in own]
    return any(
        all(condition.holds(change.get(condition.key, getattr(options, condition.key))) for condition in conditions)
        for change in changes
    )


def _use(subject: Subject) -> list[Exception]:
    """Build and use the component as its contract test does; return the error that ended it, if any."""
    with contextlib.suppress(ContractError):
        run_rules(subject)
    with neutral():
        try:
            check_all(subject, CONTRACTS[subject.component.kind])
        except (ContractError, InputError) as error:
            return [error]
        except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
            return [ContractError(f"{subject.component.name}: {type(error).__name__}: {error}")]
    return []
