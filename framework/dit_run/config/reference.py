"""The reference: every key, what it takes, its default and meaning, as Markdown from the options themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dit_run.config.describe import expected
from dit_run.config.keys import KINDS_BY_SECTION, TOP_LEVEL
from dit_run.config.schema import SECTION_TEXTS
from dit_run.options import Option, documentation, options_of, summary
from dit_run.registry.components import Component
from dit_run.registry.kinds import Kind
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

__all__ = ["options_table", "reference"]

_HEAD = """\
# The configuration

A config is one YAML file; every key of every section is below. It is read by the rules of YAML 1.2: `1e-4` is a
number, `no` and `on` are strings. Anchors, aliases, merges and tags are refused. Keys marked * may change when a run
continues. This page is written by `dit-run schema --reference`; `dit-run explain CONFIG [key]` shows the same for one
config, with the place that each value comes from.

## Layers

`extends: base.yaml`, or a list of files, relative to the file that says so, lies below the file; arguments on the
command line (`training.batch_size=8 optimizer.type=adamw`), read by the same rules, lie on top. Mappings merge;
lists and single values replace. Another `type` replaces its whole component, but for the keys common to its kind.

`${env:NAME}` and `${env:NAME:-default}` stand for an environment variable. A plain value that is nothing but one
reference is then read like any other plain word; `$${` is a literal `${`. Secrets must be written in this way, and stay
so in everything that a run writes. `extends` and `plugins` are relative to their own file, all other paths to the
working directory.
"""


def reference(registry: Registry) -> str:
    """The whole page for the components of a registry."""
    return _HEAD + "".join(f"\n## {section}\n\n{_section(section, registry)}" for section in TOP_LEVEL)


def _section(section: str, registry: Registry) -> str:
    if section in SECTIONS:
        cls = SECTIONS[section]
        return f"{summary(cls)}\n\n{options_table(cls)}"
    text = f"{SECTION_TEXTS[section]}\n"
    kind = KINDS_BY_SECTION.get(section)
    return text if kind is None else text + _kind(kind, list(registry.components(kind).values()))


def _kind(kind: Kind, components: Sequence[Component]) -> str:
    names = ", ".join(f"`{component.type}`" for component in components) or "none"
    defaults = " and ".join(f"`{type_}`" for type_ in (kind.default_type, *kind.spec.default_list) if type_)
    default = f"; the default is {'a list of ' if kind.listed else ''}{defaults}" if defaults else ""
    listed = " A list of components, each with its `type`." if kind.listed else ""
    text = f"\nKind `{kind}`.{listed} Types: {names}{default}.\n"
    if kind.spec.common:
        text += f"\n### every {kind}\n\n{options_table(kind.spec.common)}"
    for component in components:
        text += f"\n### {kind}.{component.type}\n\n{summary(component.options)}\n"
        if options_of(component.options):
            text += f"\n{options_table(component.options)}"
    return text


def options_table(cls: type) -> str:
    """The options of a class as a Markdown table: key, what it takes, default, meaning."""
    texts = documentation(cls)
    rows = [_row(option, texts.get(option.name, "")) for option in options_of(cls)]
    return "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(option: Option, text: str) -> str:
    mark = "*" if "operational" in option.markers else ""
    default = "must be written" if option.required else f"`{json.dumps(option.default, ensure_ascii=False)}`"
    cells = (f"`{option.name}`{mark}", _cell(expected(option.schema)), default, _cell(" ".join(text.split())))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
