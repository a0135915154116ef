"""Helpers that write and read configs over a registry of small components."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_registry import COMPONENTS, plugin

from dit_run import Config, load_config
from dit_run.problems import ConfigError, Problem
from dit_run.registry.registry import Registry


@pytest.fixture
def registry() -> Registry:
    return Registry((plugin("small", *COMPONENTS),))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a file into the working directory, which is a new folder, and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "c.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


@pytest.fixture
def load(write: Callable[..., str], registry: Registry) -> Callable[..., Config]:
    """The config that a text gives."""
    return lambda text, *overrides: load_config(write(text), *overrides, registry=registry)


@pytest.fixture
def problems(load: Callable[..., Config]) -> Callable[..., list[Problem]]:
    """The problems that a text has; it must have some."""

    def problems(text: str | bytes, *overrides: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        return list(caught.value.problems)

    return problems


@pytest.fixture
def brief(problems: Callable[..., list[Problem]]) -> Callable[..., list[str]]:
    """The problems of a text as ``place code``."""
    return lambda text, *overrides: [f"{p.place} {p.code}" for p in problems(text, *overrides)]
