"""The registry: the plugins, the components they offer, and the choice between two of the same type.

Plugins load one by one, in a fixed order. A plugin that fails to load is kept with its failure and without components;
the others are not affected. If several plugins offer a type, the highest rank wins: a file that the config names, then
an installed package, then a built-in plugin.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dit_run.problems import InputError
from dit_run.registry.components import Component, Kind
from dit_run.registry.entry_points import Installed, installed_plugins
from dit_run.registry.plugin import Origin, Plugin, load_file, load_installed, origin_of
from dit_run.registry.plugin_files import PluginFiles

__all__ = [
    "DISABLE_VARIABLE",
    "Origin",
    "Plugin",
    "Registry",
    "UnknownType",
    "discover",
]

DISABLE_VARIABLE = "DIT_RUN_DISABLE_PLUGINS"
"""Environment variable; with the value 1 only built-in plugins are loaded."""


class UnknownType(InputError, LookupError):
    """A type that no plugin offers, or that several plugins of one rank offer. Exit status 2."""

    def __init__(
        self, kind: Kind, type: str, registered: Sequence[str], failed: Sequence[Plugin], rivals: Sequence[Plugin]
    ):
        self.kind, self.type, self.registered, self.failed, self.rivals = kind, type, registered, failed, rivals
        if rivals:
            named = " and ".join(str(plugin) for plugin in rivals)
            files = any(plugin.origin is Origin.FILE for plugin in rivals)
            advice = "take one out of the config's plugins" if files else "leave one out with --no-plugin NAME"
            text = f"{kind}.{type} is offered by {named}; {advice}"
        else:
            text = f"there is no {kind} {type!r}; there are {', '.join(registered) or 'none'}"
            text += "".join(
                f"; plugin {plugin} did not load: {plugin.failure.message}" for plugin in failed if plugin.failure
            )
        super().__init__(text)


@dataclass(frozen=True)
class Registry:
    """The plugins with their components. Built by :func:`discover`, or in a test from plugins of your own."""

    plugins: tuple[Plugin, ...] = ()
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Causes by name and distribution of the installed plugins that were not loaded: ``--no-plugin lion``."""

    def component(self, kind: Kind, type: str) -> Component:
        """Return the component that this type means in a config. Raises UnknownType."""
        return self._chosen(kind, type)[1]

    def plugin(self, kind: Kind, type: str) -> Plugin:
        """Return the plugin whose component this type means in a config. Raises UnknownType."""
        return self._chosen(kind, type)[0]

    def components(self, kind: Kind) -> dict[str, Component]:
        """Return the components of a kind by type, sorted, without types in conflict."""
        return {type: self.component(kind, type) for type in self.types(kind) if len(self.rivals(kind, type)) == 1}

    def types(self, kind: Kind) -> tuple[str, ...]:
        """Return all registered types of a kind, sorted, including those in conflict."""
        return tuple(sorted(type for offered, type in self._offers if offered is kind))

    def rivals(self, kind: Kind, type: str) -> tuple[Plugin, ...]:
        """Return the plugins of the highest rank that offer this type; more than one is a conflict."""
        offering = self._offers.get((kind, type), ())
        best = max((plugin.origin for plugin in offering), default=None)
        return tuple(plugin for plugin in offering if plugin.origin is best)

    def shadowing(self, kind: Kind, type: str) -> tuple[Plugin, ...]:
        """Return the plugins of a lower rank whose component of this type is replaced."""
        rivals = self.rivals(kind, type)
        return tuple(plugin for plugin in self._offers.get((kind, type), ()) if plugin not in rivals)

    @property
    def failed(self) -> tuple[Plugin, ...]:
        """The plugins that did not load."""
        return tuple(plugin for plugin in self.plugins if plugin.failure)

    @property
    def files(self) -> PluginFiles:
        """The plugin files, to be sent to another process, which imports them when it unpickles this."""
        return PluginFiles(tuple(plugin.file for plugin in self.plugins if plugin.file))

    def with_file(self, path: Path) -> Registry:
        """Return this registry with the plugin in a file that a config names.

        Raises InputError naming the file if it fails to load.
        """
        plugin = load_file(path)
        for other in self.plugins:
            if other.file and plugin.file and other.name == plugin.name and other.file.path != plugin.file.path:
                raise InputError(
                    f"the plugin files {other.source} and {plugin.source} have the same name, and would be one module; "
                    "rename one"
                )
        return replace(self, plugins=(*(other for other in self.plugins if other.source != plugin.source), plugin))

    def record(self, kind: Kind, type: str) -> dict[str, Any]:
        """Return plain values that name the plugin behind a type, for the record of a run."""
        plugin = self.plugin(kind, type)
        return {
            "component": f"{kind}.{type}",
            "plugin": plugin.name,
            "origin": str(plugin.origin),
            "distribution": plugin.distribution,
            "version": plugin.version,
            "source": plugin.source,
            "digest": plugin.digest,
            "shadows": [str(other) for other in self.shadowing(kind, type)],
        }

    @cached_property
    def _offers(self) -> dict[tuple[Kind, str], tuple[Plugin, ...]]:
        """The plugins that offer each kind and type."""
        offers: dict[tuple[Kind, str], tuple[Plugin, ...]] = {}
        for plugin in self.plugins:
            for component in plugin.components:
                key = component.kind, component.type
                offers[key] = (*offers.get(key, ()), plugin)
        return offers

    def _chosen(self, kind: Kind, type: str) -> tuple[Plugin, Component]:
        rivals = self.rivals(kind, type)
        if len(rivals) != 1:
            raise UnknownType(kind, type, self.types(kind), self.failed, rivals)
        component = next(c for c in rivals[0].components if (c.kind, c.type) == (kind, type))
        return rivals[0], component


# ---------------------------------------------------------------------------------------------------------- discovery


def discover(
    config_plugins: Sequence[Path] = (), *, disabled: Collection[str] = (), third_party: bool | None = None
) -> Registry:
    """Load the built-in plugins, the installed ones and the files that a config names.

    ``disabled`` names installed plugins, or their distributions, to leave out. ``third_party`` False loads only
    built-in plugins; None reads the environment variable DIT_RUN_DISABLE_PLUGINS. Raises InputError for a file that
    fails to load, and for an unknown name in ``disabled``.
    """
    if third_party is None:
        third_party = os.environ.get(DISABLE_VARIABLE, "") not in ("1", "true")
    found = sorted(installed_plugins(), key=lambda plugin: (origin_of(plugin), plugin.distribution, plugin.name))
    _refuse_unknown(disabled, found)
    causes = [_cause(plugin, disabled, third_party=third_party) for plugin in found]
    registry = Registry(
        tuple(load_installed(plugin) for plugin, cause in zip(found, causes, strict=True) if cause is None),
        {(p.name, p.distribution): cause for p, cause in zip(found, causes, strict=True) if cause is not None},
    )
    for path in config_plugins:
        registry = registry.with_file(path)
    return registry


def _cause(plugin: Installed, disabled: Collection[str], *, third_party: bool) -> str | None:
    """Return what leaves a plugin out, or None for one that is loaded."""
    named = next((name for name in (plugin.name, plugin.distribution) if name in disabled), None)
    if named is not None:
        return f"--no-plugin {named}"
    return None if third_party or origin_of(plugin) is Origin.BUILT_IN else DISABLE_VARIABLE


def _refuse_unknown(disabled: Collection[str], found: Sequence[Installed]) -> None:
    known = {plugin.name for plugin in found} | {plugin.distribution for plugin in found}
    for name in disabled:
        if name not in known:
            names = ", ".join(sorted({plugin.name for plugin in found}))
            raise InputError(f"there is no installed plugin {name!r} to leave out; there are {names}")
