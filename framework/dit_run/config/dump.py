"""Dumps of a config as YAML that reads back to the same config."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from dit_run.config.comparison import absolute
from dit_run.config.environment import escape
from dit_run.config.yaml_scalars import NotFinite, read_scalar
from dit_run.settings import Config, put

__all__ = ["dump", "escaped", "run_config", "to_yaml"]


def dump(config: Config) -> str:
    """Return every key of the config as YAML, with secrets as ``${env:…}``; reading it gives an equal config."""
    values = escaped(config.to_dict())
    for path, reference in config.secrets.items():
        put(values, path, reference)
    del values["data"]["dataset_name"]
    return to_yaml(values)


def to_yaml(values: Any) -> str:
    """Return plain values as YAML that YAML 1.1 and YAML 1.2 read the same way."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096))


def run_config(config: Config, *, plugins: Sequence[str] | None = None) -> str:
    """Return the text of a run folder's ``config.yaml``: every key, absolute paths, runnable from any folder.

    ``plugins`` replaces the plugin files by their copies in the run folder, such as ``["plugins/my_optimizer.py"]``.
    """
    config = absolute(config)
    return dump(config if plugins is None else dataclasses.replace(config, plugins=tuple(plugins)))


def escaped(value: Any) -> Any:
    """Return the values with every ``${`` written as ``$${``."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return escape(value) if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or 1.2 would read as another type."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _is_word(text) else '"')


def _is_word(text: str) -> bool:
    try:
        return isinstance(read_scalar(text), str) and text.isprintable()
    except NotFinite:
        return False


def _list(dumper: _Dumper, items: list[Any]) -> yaml.SequenceNode:
    """Write a list of values on one line, and a list of components on several."""
    flow = not any(isinstance(item, dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(list, _list)
