"""Training from Python: ``dit_run.train``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dit_run.config.resolve import resolve
from dit_run.problems import InputError
from dit_run.registry.plugin_files import PluginFile, plugin_file
from dit_run.registry.registry import Registry, discover
from dit_run.reporting import Reporter, Silent
from dit_run.settings import Config

if TYPE_CHECKING:
    from dit_run.training.run import RunResult

__all__ = ["train"]


def train(
    config: Config | str | Path,
    *,
    stop: Callable[[], bool] | None = None,
    reporter: Reporter | None = None,
    fork_from: str | Path | None = None,
    profile: bool = False,
    allow_changed_plugins: bool = False,
    registry: Registry | None = None,
) -> RunResult:
    """Train a config, or continue its unfinished run in ``training.output_dir``, and return how the run ended.

    ``config`` is a config from :func:`dit_run.load_config`, or the path of one. Training works in any thread and leaves
    the settings of the process as they were.

    ``stop`` is called after each step, and before each call of the model in validation and sampling; when it returns
    True, the run saves a checkpoint and ends, and the next call continues it. ``reporter`` receives progress; None
    shows nothing. ``fork_from`` is a checkpoint to start from.
    ``profile`` logs where the time goes. ``allow_changed_plugins`` continues a run although its plugins changed.
    ``registry`` is the one given to :func:`dit_run.load_config`, if any.

    Raises InputError, of which ConfigError is one kind, for anything that the user can correct, and DitRunError where
    the run fails.
    """
    if not isinstance(config, Config):
        resolution = resolve(config, registry=registry)
        config, registry = resolution.config, resolution.registry
    else:
        registry = _with_plugin_files(config, discover() if registry is None else registry)
    from dit_run.training.run import train as run_training

    return run_training(
        config,
        registry,
        reporter=reporter or Silent(),
        stop=stop,
        fork_from=None if fork_from is None else Path(fork_from),
        profile=profile,
        allow_changed_plugins=allow_changed_plugins,
    )


def _with_plugin_files(config: Config, registry: Registry) -> Registry:
    """Return the registry with the config's plugin files. Raises InputError for a file that changed since."""
    for path in map(Path, config.plugins):
        if plugin_file(sys.modules.get(path.stem)) != PluginFile.read(path):
            raise InputError(
                f"the plugin file {path} is not the one that this config was loaded with: it has changed, or another "
                "file of its name was loaded; load the config again with dit_run.load_config"
            )
        registry = registry.with_file(path)
    return registry
