"""dit-run: train a text-to-image Diffusion Transformer from one YAML file, every part a plugin.

The public API is what ``dit_run.__all__`` lists; each name is imported when it is first used, so that
``import dit_run`` loads neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dit_run.config.resolve import load_config
    from dit_run.problems import ConfigError, DitRunError, InputError
    from dit_run.python_api import train
    from dit_run.registry.components import Component, Kind
    from dit_run.registry.hookspecs import hookimpl
    from dit_run.runs.reading.listing import load_runs
    from dit_run.sampling.load_run import LoadedRun, load_run
    from dit_run.settings import Config
    from dit_run.training.run import RunResult

__version__ = "0.2.0"
__all__ = [
    "Component",
    "Config",
    "ConfigError",
    "DitRunError",
    "InputError",
    "Kind",
    "LoadedRun",
    "RunResult",
    "__version__",
    "hookimpl",
    "load_config",
    "load_run",
    "load_runs",
    "train",
]

_MODULES = {
    "Component": "dit_run.registry.components",
    "Config": "dit_run.settings",
    "ConfigError": "dit_run.problems",
    "DitRunError": "dit_run.problems",
    "InputError": "dit_run.problems",
    "Kind": "dit_run.registry.components",
    "LoadedRun": "dit_run.sampling.load_run",
    "RunResult": "dit_run.training.run",
    "hookimpl": "dit_run.registry.hookspecs",
    "load_config": "dit_run.config.resolve",
    "load_run": "dit_run.sampling.load_run",
    "load_runs": "dit_run.runs.reading.listing",
    "train": "dit_run.python_api",
}
"""The module that defines each public name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
