"""The registry: which plugins there are, what they offer, and whose component a type means.

Plugins load one by one, in a fixed order. One that cannot be loaded is kept with its failure, its components are
absent, and nothing else is touched. A type that several plugins offer means the one of the highest rank: a file that
the config names, then an installed package, then what is built in.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import pluggy

from dit_run import hookspecs
from dit_run.components import Component, Kind
from dit_run.problems import InputError

__all__ = [
    "BUILT_IN_DISTRIBUTION",
    "DISABLE_VARIABLE",
    "Failure",
    "Origin",
    "Plugin",
    "Registry",
    "UnknownType",
    "discover",
]

BUILT_IN_DISTRIBUTION = "dit-run"
DISABLE_VARIABLE = "DIT_RUN_DISABLE_PLUGINS"
"""Set to 1, plugins of other packages are left out."""


class Origin(IntEnum):
    """Where a plugin comes from; the higher rank wins where two offer the same type."""

    BUILT_IN = 0
    INSTALLED = 1
    FILE = 2

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Failure:
    """Why a plugin could not be loaded."""

    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Plugin:
    """One plugin, loaded or not."""

    name: str
    """The entry point's name, or a file's stem."""
    origin: Origin
    source: str
    """What the entry point names, or the file's path."""
    distribution: str = ""
    version: str = ""
    digest: str = ""
    """sha256 of the file, for a plugin in one file."""
    components: tuple[Component, ...] = ()
    failure: Failure | None = None

    def __str__(self) -> str:
        if self.origin is Origin.FILE:
            return self.source
        return f"{self.name} ({self.distribution} {self.version})"


class UnknownType(InputError):
    """No component, or no single one, is meant by a kind and type. Exit status 2."""

    def __init__(
        self, kind: Kind, type: str, registered: Sequence[str], failed: Sequence[Plugin], rivals: Sequence[Plugin]
    ):
        self.kind, self.type, self.registered, self.failed, self.rivals = kind, type, registered, failed, rivals
        if rivals:
            named = " and ".join(str(plugin) for plugin in rivals)
            text = f"{kind}.{type} is offered by {named}; leave one out with --no-plugin NAME"
        else:
            text = f"there is no {kind} {type!r}; there are {', '.join(registered) or 'none'}"
            text += "".join(
                f"; plugin {plugin} did not load: {plugin.failure.message}" for plugin in failed if plugin.failure
            )
        super().__init__(text)


@dataclass(frozen=True)
class Registry:
    """What plugins offer. Make one with :func:`discover`, or from plugins of your own in a test."""

    plugins: tuple[Plugin, ...] = ()

    def component(self, kind: Kind, type: str) -> Component:
        """The component that a config means by this type. Raises UnknownType."""
        return self._chosen(kind, type)[1]

    def plugin(self, kind: Kind, type: str) -> Plugin:
        """The plugin whose component a config means by this type. Raises UnknownType."""
        return self._chosen(kind, type)[0]

    def components(self, kind: Kind) -> dict[str, Component]:
        """The components of a kind by type, sorted; one for each type that is not in conflict."""
        types = sorted({component.type for _, component in self._offers() if component.kind is kind})
        return {type: self.component(kind, type) for type in types if len(self.rivals(kind, type)) == 1}

    def types(self, kind: Kind) -> tuple[str, ...]:
        """All registered types of a kind, sorted, those in conflict too."""
        return tuple(sorted({component.type for _, component in self._offers() if component.kind is kind}))

    def rivals(self, kind: Kind, type: str) -> tuple[Plugin, ...]:
        """The plugins of the highest rank that offer this type: more than one is a conflict."""
        offering = [plugin for plugin, c in self._offers() if (c.kind, c.type) == (kind, type)]
        best = max((plugin.origin for plugin in offering), default=None)
        return tuple(plugin for plugin in offering if plugin.origin is best)

    def shadowed(self, plugin: Plugin) -> tuple[Component, ...]:
        """The plugin's components that another plugin of a higher rank replaces."""
        return tuple(c for c in plugin.components if plugin not in self.rivals(c.kind, c.type))

    @property
    def failed(self) -> tuple[Plugin, ...]:
        """The plugins that did not load."""
        return tuple(plugin for plugin in self.plugins if plugin.failure)

    def _offers(self) -> Iterator[tuple[Plugin, Component]]:
        return ((plugin, component) for plugin in self.plugins for component in plugin.components)

    def _chosen(self, kind: Kind, type: str) -> tuple[Plugin, Component]:
        rivals = self.rivals(kind, type)
        if len(rivals) != 1:
            raise UnknownType(kind, type, self.types(kind), self.failed, rivals)
        component = next(c for c in rivals[0].components if (c.kind, c.type) == (kind, type))
        return rivals[0], component


def discover(
    config_plugins: Sequence[Path] = (), *, disabled: Collection[str] = (), third_party: bool | None = None
) -> Registry:
    """Load the built-in plugins, the installed ones and the files that a config names.

    ``disabled`` names plugins to leave out; ``third_party`` False leaves out all that are not built in (None: as the
    environment variable DIT_RUN_DISABLE_PLUGINS says). Raises InputError for a file that fails: a config asked for it.
    """
    if third_party is None:
        third_party = os.environ.get(DISABLE_VARIABLE, "") not in ("1", "true")
    points = [point for point in _entry_points() if point.name not in disabled]
    installed = [_load_entry_point(point) for point in points if third_party or _origin(point) is Origin.BUILT_IN]
    files = [_load_file(path) for path in config_plugins]
    return Registry((*installed, *files))


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """One of each (name, distribution), built-in ones first, then by distribution and name."""
    points = {
        (p.name, _distribution(p)[0]): p for p in importlib.metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    }
    return sorted(points.values(), key=lambda point: (_origin(point), _distribution(point), point.name))


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("", "")


def _origin(point: importlib.metadata.EntryPoint) -> Origin:
    return Origin.BUILT_IN if _distribution(point)[0] == BUILT_IN_DISTRIBUTION else Origin.INSTALLED


def _load_entry_point(point: importlib.metadata.EntryPoint) -> Plugin:
    distribution, version = _distribution(point)
    components, failure = _offered(point.name, point.load)
    return Plugin(point.name, _origin(point), point.value, distribution, version, "", components, failure)


def _load_file(path: Path) -> Plugin:
    if not path.is_file():
        raise InputError(f"the config names the plugin file {path}, which does not exist (plugins)")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    components, failure = _offered(path.stem, lambda: import_file(path))
    if failure:
        raise InputError(f"the plugin file {path} did not load: {failure.message}")
    return Plugin(path.stem, Origin.FILE, str(path), digest=digest, components=components)


def import_file(path: Path) -> ModuleType:
    """Import a plugin file under its stem, so that what it defines can be pickled to another process that has done the
    same. Raises InputError for a stem that is no module name or already means another module."""
    name = path.stem
    if not name.isidentifier():
        raise InputError(f"a plugin file's name is its module's name, and {name!r} is none; rename {path}")
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or importlib.util.find_spec(name) is not None:
        raise InputError(f"{name!r} already names another module; rename {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_files(paths: Iterable[str]) -> None:
    """Import plugin files in a loading process, before anything they define is unpickled there."""
    for path in paths:
        import_file(Path(path))


def _offered(name: str, load: Callable[[], object]) -> tuple[tuple[Component, ...], Failure | None]:
    try:
        return _components(name, load()), None
    except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
        message = str(error) if isinstance(error, _Refused | InputError) else f"{type(error).__name__}: {error}"
        return (), Failure(message, traceback.format_exc())


class _Refused(Exception):
    """What a plugin offers is not what the hook asks for."""


def _components(name: str, plugin: object) -> tuple[Component, ...]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _Refused(
            f"it implements a hook that does not exist; the one hook is dit_run_components ({error})"
        ) from error
    offers = manager.hook.dit_run_components()
    if not manager.get_hookcallers(plugin):
        raise _Refused("it implements no hook; write @hookimpl above def dit_run_components()")
    return tuple(_checked(offer) for offered in offers for offer in _iterated(offered))


def _iterated(offered: object) -> Iterable[object]:
    if isinstance(offered, Iterable) and not isinstance(offered, str):
        return offered
    raise _Refused(f"dit_run_components should return an iterable of Component, not {offered!r}")


def _checked(offer: object) -> Component:
    if not isinstance(offer, Component):
        raise _Refused(f"dit_run_components should yield Component objects, not {offer!r}")
    return offer
