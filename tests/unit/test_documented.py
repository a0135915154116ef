"""Nothing that a user may write is undocumented: keys, commands and names that programs import."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
from pathlib import Path

import pytest
from pages import PAGES

from dit_run.cli.commands import COMMANDS
from dit_run.config.keys import KINDS_BY_SECTION
from dit_run.options import documentation, options_of, summary
from dit_run.registry.registry import discover
from dit_run.settings import SECTIONS

PUBLIC = ("dit_run", "dit_run.protocols", "dit_run.options", "dit_run.problems", "dit_run.testing", "dit_run.reporting")
"""Modules whose names programs and plugins may import."""
WRITTEN = {name: page.read_text(encoding="utf-8") for name, page in PAGES.items()}


def options_classes() -> list[type]:
    """Return the options classes of the core's sections, of all kinds and of all built-in components."""
    registry = discover(third_party=False)
    kinds = KINDS_BY_SECTION.values()
    components = [component for kind in kinds for component in registry.components(kind).values()]
    places = [option.components for each in components for option in options_of(each.options) if option.components]
    return [
        *SECTIONS.values(),
        *(kind.spec.common for kind in kinds if kind.spec.common),
        *(component.options for component in components),
        *(place.item for place in places),
    ]


@pytest.mark.parametrize("cls", options_classes(), ids=lambda cls: cls.__qualname__)
def test_every_key_says_what_it_does(cls: type) -> None:
    assert summary(cls)
    assert [option.name for option in options_of(cls) if not documentation(cls).get(option.name)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_shown_outside_of_the_reference(name: str) -> None:
    shown = [page for page, text in WRITTEN.items() if re.search(rf"\bdit-run {name}\b", text)]
    assert set(shown) - {"docs/commands.md"}


def constants_with_texts(module: str) -> set[str]:
    """Return the names in the files of a module or package whose assignment is followed by a text."""
    file = Path(importlib.import_module(module).__file__ or "")
    files = file.parent.glob("*.py") if file.name == "__init__.py" else [file]
    found = set()
    for path in files:
        for node, following in itertools.pairwise(ast.parse(path.read_text(encoding="utf-8")).body):
            match node, following:
                case (
                    ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str())),
                ):
                    found.add(name)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_says_what_it_is(module: str) -> None:
    with_texts = constants_with_texts(module) | {"__version__", "hookimpl"}
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{module}.{name}"
        else:
            assert name in with_texts, f"{module}.{name}"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_module_is_on_a_page(module: str) -> None:
    assert [name for name, text in WRITTEN.items() if f"\n::: {module}\n" in text]
