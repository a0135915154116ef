"""Fault attribution: an exception from a plugin's code gets the plugin's name and the place in its code."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType

from dit_run.problems import DitRunError
from dit_run.registry.entry_points import installed_plugins
from dit_run.registry.factories import PluginFault
from dit_run.registry.plugin_code import BUILT_IN, CORE
from dit_run.registry.plugin_files import plugin_file

__all__ = ["plugin_fault", "translate_plugin_fault"]


@contextlib.contextmanager
def translate_plugin_fault() -> Iterator[None]:
    """Turn an exception from a plugin that is not built in into PluginFault, also if it came from a worker."""
    try:
        yield
    except DitRunError:
        raise
    except Exception as error:
        fault = plugin_fault(error)
        if fault is None:
            raise
        raise fault from error


def plugin_fault(error: BaseException) -> PluginFault | None:
    """Return the error with the name of the plugin whose code was called last, and the traceback from there on.

    None if no plugin's code was running, or if it called a built-in component that failed, as a sampler calls the
    model.
    """
    installed = _installed()
    last, start = None, None
    for at in _places(error.__traceback__):
        owner = _owner(at.tb_frame, installed)
        if owner is not None and owner != last:
            last, start = owner, at
    if last is None or last == BUILT_IN or start is None:
        return None
    said = "".join(traceback.format_exception_only(error)).strip()
    fault = PluginFault(f"plugin {last} failed: {said}\n{''.join(traceback.format_tb(start)).rstrip()}")
    fault.__cause__ = error
    return fault


def _places(at: TracebackType | None) -> Iterator[TracebackType]:
    while at is not None:
        yield at
        at = at.tb_next


def _owner(frame: FrameType, installed: Mapping[str, str]) -> str | None:
    """Return the plugin that a frame's code belongs to, as messages name it."""
    module = str(frame.f_globals.get("__name__", ""))
    file = plugin_file(sys.modules.get(module))
    return str(file.path) if file is not None else installed.get(module.partition(".")[0])


def _installed() -> dict[str, str]:
    """Return the packages of installed plugins, with the plugins' names."""
    found = {}
    for plugin in installed_plugins():
        package = plugin.source.partition(":")[0].partition(".")[0]
        if package != CORE:
            found[package] = f"{plugin.name} ({plugin.distribution} {plugin.version})"
    return {**found, BUILT_IN: BUILT_IN}
