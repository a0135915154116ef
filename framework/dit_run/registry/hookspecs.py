"""The one hook: how a plugin offers its components.

A plugin is a module, in a package of its own or one file beside a config::

    from dit_run import Component, Kind, hookimpl

    @hookimpl
    def dit_run_components():
        return [Component(Kind.OPTIMIZER, "lion", Lion, "my_package.lion:build")]

A package names that module as an entry point, and installing it is all that its users do::

    [project.entry-points.dit_run]
    lion = "my_package.plugin"

A config names a file: ``plugins: [./my_optimizer.py]``. :mod:`dit_run.protocols` says what each kind must be.
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
    """The components that this plugin offers, each of another kind or type. Called once; imports nothing heavy.

    Whatever it raises, or returns that is no component, leaves this plugin out and nothing else: `dit-run plugins`
    shows it, and a config that needs one of its components says so.
    """
