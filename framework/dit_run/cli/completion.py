"""Shell completion by argcomplete: commands, flags, files, and the keys and values of a config.

``eval "$(register-python-argcomplete dit-run)"`` turns it on in bash and zsh.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter

from dit_run.cli.commands import command_parser
from dit_run.config.code_texts import code_texts
from dit_run.config.keys import KINDS_BY_SECTION, config_options, key_name
from dit_run.config.resolve import resolve
from dit_run.options import Option, options_of
from dit_run.problems import ConfigError
from dit_run.settings import SECTIONS

__all__ = ["complete", "key_completions"]

_CONFIGS = FilesCompleter(("yaml", "yml"))


def complete(commands: Collection[str]) -> None:
    """Write the completions of the line in the environment, as the shell asks for them, and end the process."""
    words = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))].split(" ")
    rest = [word for word in words[1:-1] if word]
    if not rest:
        argcomplete.autocomplete(_overview(commands))
    elif rest[0] in commands:
        os.environ["_ARGCOMPLETE"] = "2"  # the line's second word is then the name of the program
        argcomplete.autocomplete(_parser(rest[0]))
    else:
        argcomplete.autocomplete(_parser("train"))


def _overview(commands: Collection[str]) -> argparse.ArgumentParser:
    """Return a parser of the first word: a command or a config."""
    parser = argparse.ArgumentParser()
    first = parser.add_argument("first")

    def completions(prefix: str, **rest: Any) -> Iterator[str]:
        yield from (command for command in commands if command.startswith(prefix))
        yield from _CONFIGS(prefix, **rest)

    _attach(first, completions)
    return parser


def _parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command, whose arguments know how they are completed."""
    parser = command_parser(command)
    for action in parser._actions:
        if action.dest in _COMPLETERS:
            _attach(action, _COMPLETERS[action.dest])
    return parser


def _attach(action: argparse.Action, completer: Callable[..., Any]) -> None:
    action.completer = completer  # type: ignore[attr-defined]


def _keys(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterator[str]:
    return key_completions(prefix, getattr(parsed_args, "config", None))


def _configs_and_codes(prefix: str, **rest: Any) -> Iterator[str]:
    yield from _CONFIGS(prefix, **rest)
    yield from (code for code in code_texts() if prefix and code.startswith(prefix))


_COMPLETERS: Mapping[str, Callable[..., Any]] = {
    "config": _CONFIGS,
    "words": _CONFIGS,
    "run": DirectoriesCompleter(),
    "subject": _configs_and_codes,
    "overrides": _keys,
}
"""Completers by the names of arguments."""


def key_completions(prefix: str, path: str | None) -> Iterator[str]:
    """Yield the arguments ``section.key=`` that begin with a prefix; after ``=`` the values, where they are few.

    The keys are those of the config at ``path``, or without a readable one those of the core's own sections.
    """
    for key, values in _choices(path):
        if prefix.startswith(f"{key}="):
            yield from (f"{key}={value}" for value in values if f"{key}={value}".startswith(prefix))
        elif key.startswith(prefix):
            yield f"{key}="


def _choices(path: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield each key with its values."""
    try:
        found = resolve(path, ()) if path is not None else None
    except ConfigError:
        found = None
    if found is None:
        sections = [((section, option.name), option) for section, cls in SECTIONS.items() for option in options_of(cls)]
        yield from ((key_name(each), _values(option)) for each, option in sections)
        return
    options = [(each, option) for each, option, _ in config_options(found.config) if not isinstance(each[1], int)]
    yield from ((key_name(each), _values(option)) for each, option in options)
    for section, kind in KINDS_BY_SECTION.items():
        if not (kind.listed or isinstance(found.config.sections[section], tuple)):
            yield f"{section}.type", list(found.registry.types(kind))


def _values(option: Option) -> list[str]:
    """Return the few values that an option takes; none for numbers and texts."""
    kinds = option.schema["type"]
    words = [str(value) for value in option.schema.get("enum", ()) if value is not None]
    words += ["true", "false"] if "boolean" in kinds else []
    return words + (["null"] if "null" in kinds else [])
