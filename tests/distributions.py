"""Installed packages as tests need them: modules and a .dist-info folder in a folder on the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["GOOD", "distribution", "plugin_text"]


def plugin_text(type: str = "lion", *, kind: str = "OPTIMIZER", factory: str = "build", options: str = "Lion") -> str:
    """A plugin module that offers one component; ``factory`` and ``options`` are expressions."""
    return f'''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.options import PositiveFloat

@dataclass(frozen=True, kw_only=True)
class Lion:
    """Evolved sign momentum."""

    decay: PositiveFloat = 0.1
    """Weight decay."""

def build(options, *, named_parameters, learning_rate):
    raise NotImplementedError

@hookimpl
def dit_run_components():
    return [Component(Kind.{kind}, {type!r}, {options}, {factory})]
'''


GOOD = plugin_text()


def distribution(
    folder: Path,
    name: str = "dit-run-lion",
    *,
    version: str = "0.2.0",
    entry_point: str = "lion = dit_run_lion",
    modules: Mapping[str, str] = {"dit_run_lion.py": GOOD},
) -> Path:
    """Lay a distribution into ``folder``, which the test puts on the path, as an installer would."""
    for path, text in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[dit_run]\n{entry_point}\n")
    return folder
