"""From a path and ``key=value`` arguments to a checked, typed config."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dit_run.config.alternatives import drop_lower_alternatives
from dit_run.config.combined_sections import partial_changes
from dit_run.config.environment import expand
from dit_run.config.extends import Layers, read_layers
from dit_run.config.home_folders import path_of, with_homes
from dit_run.config.interpolation import expand_all
from dit_run.config.missing_plugin import PluginRecords, with_former_plugin
from dit_run.config.nodes import ListNode, MapNode, Scalar, Source
from dit_run.config.renamed_keys import rename_keys
from dit_run.config.replaced_types import replaced_types
from dit_run.config.rule_checks import check_rules
from dit_run.config.schema import compose
from dit_run.config.schema_check import schema_problems
from dit_run.config.typed import typed
from dit_run.config.used_sections import Used, keep_used
from dit_run.problems import ConfigError, InputError, Place, Problem
from dit_run.protocols import Facts
from dit_run.registry.registry import Registry, discover
from dit_run.settings import Config

__all__ = ["Resolution", "load_config", "registry_of", "resolve"]


@dataclass(frozen=True)
class Resolution:
    """A config, and the nodes, sources and registry it comes from."""

    config: Config
    root: MapNode
    """The merged nodes."""
    sources: tuple[Source, ...]
    """Texts of the layers, lowest first."""
    registry: Registry


def load_config(
    path: str | Path,
    *overrides: str,
    registry: Registry | None = None,
    config_plugins: bool = True,
) -> Config:
    """Read, check and type a config: the file, the files it extends, and ``section.key=value`` arguments on top.

    Raises ConfigError with all problems. ``registry`` defaults to all installed plugins; the plugin files that the
    config names are added to it, or refused if ``config_plugins`` is False.
    """
    return resolve(path, overrides, registry=registry, config_plugins=config_plugins).config


def resolve(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    registry: Registry | None = None,
    config_plugins: bool = True,
    plugin_records: PluginRecords = lambda run_dir: (),
    used: Used | None = None,
) -> Resolution:
    """Load a config as :func:`load_config` does, and return its nodes, sources and registry with it.

    ``plugin_records`` reads the plugins that an earlier run in ``training.output_dir`` used, for the advice about a
    type that is no longer installed. ``used`` leaves out the components that the caller does not build; None keeps all.
    """
    layers = read_layers(path, overrides)
    problems = [problem for problem in layers.problems if problem.severity == "error"]
    notices = [problem for problem in layers.problems if problem.severity == "notice"]
    if not (layers.complete and layers.roots):
        raise ConfigError(_in_order(problems, layers))
    root = layers.merged()
    problems += partial_changes(layers.roots)
    if used is not None:
        keep_used(root, used)
    installed = discover() if registry is None else registry
    files = _plugin_files(root, problems, allowed=config_plugins)
    known, cause = _with_files(installed, files, problems)
    renamed = rename_keys(root, known, layers.sources, problems)
    secrets = expand_all(root, known, problems)
    drop_lower_alternatives(root, known, layers.sources, problems)
    if not any(problem.code.startswith("plugin") for problem in problems):
        found = schema_problems(root, compose(known), known)
        problems += [with_former_plugin(problem, root, known, plugin_records) for problem in found]
    if problems:
        raise ConfigError(_in_order([*problems, *renamed], layers)) from cause
    config = typed(root, known, tuple(dict.fromkeys(str(file) for file, _ in files)), problems)
    if config is None:
        raise ConfigError(_in_order(problems, layers))
    notices += [*renamed, *replaced_types(config, known)]
    config = dataclasses.replace(config, secrets=secrets, notices=tuple(notices))
    try:
        config = check_rules(with_homes(config), Facts(total_steps=config.training.max_steps))
    except ConfigError as error:
        raise ConfigError(_in_order(error.problems, layers)) from None
    return Resolution(config, root, tuple(layers.sources), known)


def registry_of(path: str | Path, registry: Registry, *, config_plugins: bool = True) -> Registry:
    """Return the registry with the plugin files that a config names; the rest of the config is not checked.

    Raises ConfigError if the config cannot be read or a file fails.
    """
    layers = read_layers(path)
    problems = [problem for problem in layers.problems if problem.severity == "error"]
    cause = None
    if layers.complete and layers.roots:
        files = _plugin_files(layers.merged(), problems, allowed=config_plugins)
        registry, cause = _with_files(registry, files, problems)
    if problems:
        raise ConfigError(_in_order(problems, layers)) from cause
    return registry


def _in_order(problems: Sequence[Problem], layers: Layers) -> list[Problem]:
    """Sort problems by layer, then by line and column; those without a place come last."""
    ranks = {source.name: rank for rank, source in enumerate(layers.sources)}

    def key(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return (ranks.get(place.source, len(ranks)), place.line, place.column) if place else (len(ranks) + 1, 0, 0)

    return sorted(problems, key=key)


# ------------------------------------------------------------------------------------------------------------ plugins


def _plugin_files(root: MapNode, problems: list[Problem], *, allowed: bool) -> list[tuple[Path, Place]]:
    """Return the plugin files that a config names, with their places, and expand their nodes."""
    entry = root.entries.get("plugins")
    if entry is None or not isinstance(entry.node, ListNode):
        return []
    if not allowed and entry.node.items:
        message = "the config names plugin files, which --no-config-plugins refuses"
        help_ = ("read the files, then allow them by leaving the flag out",)
        problems.append(Problem("plugins-refused", message, ("plugins",), entry.span.place(), help_))
        return []
    files = []
    for index, item in enumerate(entry.node.items):
        if isinstance(item, Scalar) and isinstance(item.value, str):
            scalar = expand(item, problems, text_wanted=True)
            entry.node.items[index] = scalar
            if scalar.value:
                path = os.path.realpath(item.span.source.directory / path_of(str(scalar.value)))
                files.append((Path(path), item.span.place()))
    return files


def _with_files(
    registry: Registry, files: Sequence[tuple[Path, Place]], problems: list[Problem]
) -> tuple[Registry, InputError | None]:
    """Return the registry with the files, and the error of the last file that failed, for its traceback."""
    cause = None
    for file, place in files:
        try:
            registry = registry.with_file(file)
        except InputError as error:
            message = str(error).replace(str(file), place.text[place.column - 1 :][: place.length].strip("'\""))
            problems.append(Problem("plugin-failed", message, ("plugins",), place))
            cause = error
    return registry, cause
