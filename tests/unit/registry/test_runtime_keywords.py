"""The manual of factories, held against what a run passes to them."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from dit_run.registry.components import Component, Kind
from dit_run.registry.factories import resolve
from dit_run.registry.registry import Origin, Plugin, Registry, discover
from dit_run.testing import run_tiny


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No options."""


def curious(options: Nothing, *, whatever: object) -> None: ...


@pytest.mark.parametrize("kind", Kind)
def test_a_run_passes_the_keywords_of_the_manual_and_no_others(kind: Kind, tmp_path: Path) -> None:
    plugin = Plugin("curious", Origin.FILE, "curious", components=(Component(kind, "curious", Nothing, curious),))
    registry = Registry((*discover(third_party=False).plugins, plugin))
    chosen = "[{type: curious}]" if kind.listed else "{type: curious}"
    run = run_tiny(tmp_path, f"{kind.section}: {chosen}", registry=registry)
    assert run.errors == (
        f"the factory of {kind}.curious asks for whatever; the runtime keywords of kind {kind} are "
        f"{', '.join(sorted(kind.spec.runtime)) or 'none'}",
    )


def test_every_protocol_tells_the_keywords_of_its_kind() -> None:
    keywords = {}
    for kind in Kind:
        manual = inspect.getdoc(resolve(kind.spec.protocol)) or ""
        signature = re.match(r"``build\(options,? ?(.*?)\)(?: ->|``)", manual)
        assert signature, kind
        words = re.sub(r"\[.*?\]|: \w+", "", signature.group(1).removeprefix("*, "))
        keywords[kind] = tuple(words.split(", ")) if words else ()
    assert keywords == {kind: kind.spec.runtime for kind in Kind}
