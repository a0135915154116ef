"""Fixtures for tests of plugins with pytest.

Enable them by ``pytest_plugins = ["dit_run.testing.fixtures"]`` in the topmost conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dit_run.registry import registry as registry_module
from dit_run.registry.registry import Registry
from dit_run.testing.plugin_imports import forgotten
from dit_run.testing.tiny_run import TinyRun, run_tiny

__all__ = ["empty_registry", "run_config"]


@pytest.fixture
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return a registry without plugins, and make discovery find none during the test, not even built-in ones."""
    monkeypatch.setattr(registry_module, "installed_plugins", lambda: iter(()))
    return Registry()


@pytest.fixture
def run_config(tmp_path: Path) -> Iterator[Callable[..., TinyRun]]:
    """Yield ``run_config(yaml, **files)``, which trains two steps with this config on top of a tiny one.

    ``files`` are written next to the config: ``run_config("plugins: [./lion.py]", **{"lion.py": text})``. Returns a
    :class:`dit_run.testing.tiny_run.TinyRun` with errors, run folder and metrics. Imported plugin files are removed
    from ``sys.modules`` after the test.
    """
    count = 0

    def run(yaml: str = "", **files: str | bytes) -> TinyRun:
        nonlocal count
        count += 1
        return run_tiny(tmp_path / f"tiny-{count}", yaml, files)

    with forgotten(tmp_path):
        yield run
