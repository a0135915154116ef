"""The text of a config from a proposal: YAML with the reason behind each key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dit_run.config.dump import to_yaml
from dit_run.survey.proposal import Line

__all__ = ["config_text", "with_given"]

_GIVEN = "given on the command line"


def with_given(lines: Iterable[Line], given: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Return the lines with the values that the user gave, by section and key, in place of proposed ones."""
    result = [
        replace(line, value=given[line.section][line.key], reason=_GIVEN)
        if line.key in given.get(line.section, {})
        else line
        for line in lines
    ]
    written = {(line.section, line.key) for line in result}
    for section, keys in given.items():
        result += [Line(section, key, value, _GIVEN) for key, value in keys.items() if (section, key) not in written]
    return result


def config_text(head: Sequence[str], extends: tuple[str, str], lines: Sequence[Line]) -> str:
    """Return the whole text; ``head`` has lines of comments."""
    name, reason = extends
    text = [f"# {line}" for line in head] + ["", f"extends: {name} # {reason}"]
    for section in dict.fromkeys(line.section for line in lines):
        own = [line for line in lines if line.section == section]
        keys = [f"  {part}" for line in own if line.key for part in _entry(line)]
        text += ["", *([f"{section}:", *keys] if keys else [part for line in own for part in _entry(line)])]
    return "\n".join(text) + "\n"


def _entry(line: Line) -> list[str]:
    """Return a key with its value and reason; a value of several lines has its reason above it."""
    value = to_yaml({line.key or line.section: line.value}).rstrip().splitlines()
    if not line.reason:
        return value
    return [f"{value[0]} # {line.reason}"] if len(value) == 1 else [f"# {line.reason}", *value]
