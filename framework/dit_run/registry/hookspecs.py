"""The hook through which a plugin offers its components.

A plugin is a module: in a package of its own, or one file next to a config::

    from dit_run import Component, Kind, hookimpl

    @hookimpl
    def dit_run_components():
        return [Component(Kind.OPTIMIZER, "lion", Lion, "my_package.lion:build")]

A package names that module as an entry point. Users only install the package::

    [project.entry-points.dit_run]
    lion = "my_package.plugin"

A config names a file: ``plugins: [./my_optimizer.py]``. :mod:`dit_run.protocols` describes the object that each kind
needs.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from dit_run.registry.components import Component

__all__ = ["ENTRY_POINT_GROUP", "PROJECT", "dit_run_components", "hookimpl", "hookspec"]

PROJECT = "dit_run"
ENTRY_POINT_GROUP = "dit_run"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dit_run_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components of this plugin, at most one per kind and type. Called once; must import nothing heavy.

    An exception, or a result that is not a list of components, leaves out this plugin and no other. `dit-run plugins`
    shows the reason, and so does the error for a config that needs one of its components.
    """
