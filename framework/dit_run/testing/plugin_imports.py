"""The heavy packages that a plugin imports, and a context that undoes imports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

from dit_run.registry.hookspecs import ENTRY_POINT_GROUP
from dit_run.registry.loading import load_offers
from dit_run.registry.plugin_files import PluginFile

__all__ = ["HEAVY", "forgotten", "heavy_imports"]

HEAVY = ("torch", "transformers", "diffusers", "numpy", "PIL")
"""Packages that must not be imported to list plugins or to check a config."""


@contextlib.contextmanager
def forgotten(folder: Path) -> Iterator[None]:
    """Remove modules below ``folder`` from ``sys.modules`` that were imported inside the block."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def heavy_imports(source: str, file: PluginFile | None) -> list[str]:
    """Load a plugin and the modules of its rules; return the packages of :data:`HEAVY` that this process has imported.

    Raises ImportError if the plugin does not load.
    """
    load = file.load if file else EntryPoint("checked", source, ENTRY_POINT_GROUP).load
    offers = load_offers(load)
    if offers.failure:
        raise ImportError(offers.failure.message)
    for rule in (rule for component in offers.components for rule in component.rules):
        __import__(rule.partition(":")[0])
    return [name for name in HEAVY if name in sys.modules]
