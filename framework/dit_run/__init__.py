"""dit-run: train a text-to-image Diffusion Transformer from one YAML file, every part a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dit_run.registry.components import Component, Kind
from dit_run.registry.hookspecs import hookimpl

if TYPE_CHECKING:
    from dit_run.config.resolve import load_config
    from dit_run.settings import Config

__version__ = "0.1.0"
__all__ = ["Component", "Config", "Kind", "__version__", "hookimpl", "load_config"]


def __getattr__(name: str) -> Any:
    if name == "load_config":
        from dit_run.config.resolve import load_config

        return load_config
    if name == "Config":
        from dit_run.settings import Config

        return Config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
