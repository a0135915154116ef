"""The config of a trained run, as far as it is used: what samples needs neither the optimizer nor the trackers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dit_run.config.resolve import Resolution, resolve
from dit_run.config.used_sections import Used, unused_keys
from dit_run.export.frozen_places import frozen_overrides
from dit_run.problems import ConfigError, InputError
from dit_run.registry.registry import Origin
from dit_run.runs.run_folder import RunFolder

__all__ = ["SAMPLED", "SCORED", "RunConfig", "read_run_config"]

SAMPLED = frozenset({"model", "vae", "text_encoder", "scheduler", "guidance", "adapter"})
"""Sections whose components make images."""
SCORED = SAMPLED | {"data", "metrics"}
"""Sections whose components make images and score them."""
_SETTINGS = frozenset({"sampling", "training", "plugins", "extends"})
"""Other keys that images depend on."""


@dataclass(frozen=True)
class RunConfig:
    """A run's config, read to use some of its components."""

    resolution: Resolution
    left_out: ConfigError | None
    """The error because of which components that are not used were replaced by defaults; None for a whole config."""
    notices: tuple[str, ...]


def read_run_config(
    folder: RunFolder, overrides: Sequence[str], used: frozenset[str], *, allow_plugins: bool
) -> RunConfig:
    """Read the ``config.yaml`` of a run folder or an exported folder, with ``section.key=value`` on top.

    The frozen parts of an exported folder are its own copies, unless the overrides name others.
    Plugin files run only if they are allowed, and are asked for only if a used component is from one. Raises InputError
    for a folder that holds no run and for plugin files that are not allowed.
    """
    if not folder.config.is_file():
        raise InputError(f"{folder.path} is not a run folder: it has no config.yaml")
    needs_files = folder.plugins.is_dir() and _needs_plugin_files(folder, used)
    if needs_files and not allow_plugins:
        raise _not_allowed(folder)
    notices = tuple(f"{key} has no effect here" for key in unused_keys(overrides, used | _SETTINGS))
    read = partial(
        resolve,
        folder.config,
        [*frozen_overrides(folder.path, folder.config), *overrides],
        config_plugins=allow_plugins,
        plugin_records=lambda run_dir: RunFolder(run_dir).plugin_records(),
    )
    try:
        return RunConfig(read(), None, notices)
    except ConfigError as error:
        return RunConfig(read(used=Used(used, plugin_files=needs_files)), error, notices)


def _needs_plugin_files(folder: RunFolder, used: frozenset[str]) -> bool:
    """Return True if a used component is from a plugin file, or the record of the run's plugins is lost."""
    records = folder.plugin_records()
    from_files = [record for record in records if record.get("origin") == str(Origin.FILE)]
    return not records or any(str(record.get("section")).partition("[")[0] in used for record in from_files)


def _not_allowed(folder: RunFolder) -> InputError:
    files = ", ".join(sorted(path.name for path in folder.plugins.iterdir()))
    return InputError(
        f"{folder.path} contains plugin files, and loading it would run their code: {files}; read them in "
        f"{folder.plugins}, then add --allow-plugins (allow_plugins=True in Python)"
    )
