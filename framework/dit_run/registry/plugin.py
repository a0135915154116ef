"""A plugin: its origin and its components, or the reason why it did not load."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

from dit_run.problems import InputError
from dit_run.registry.components import Component
from dit_run.registry.entry_points import Installed
from dit_run.registry.loading import LoadFailure, load_offers
from dit_run.registry.plugin_code import source_digest
from dit_run.registry.plugin_files import PluginFile
from dit_run.system.output import output_to_stderr

__all__ = ["BUILT_IN_DISTRIBUTION", "Origin", "Plugin", "load_file", "load_installed", "origin_of"]

BUILT_IN_DISTRIBUTION = "dit-run"


class Origin(IntEnum):
    """Origin of a plugin, which is its rank: if two offer the same type, the higher one wins."""

    BUILT_IN = 0
    INSTALLED = 1
    FILE = 2

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Plugin:
    """A plugin, loaded or failed."""

    name: str
    """Name of the entry point, or stem of the file."""
    origin: Origin
    source: str
    """Module that the entry point names, or path of the file."""
    distribution: str = ""
    version: str = ""
    components: tuple[Component, ...] = ()
    failure: LoadFailure | None = None
    file: PluginFile | None = None
    """Set for a plugin in one file."""
    contract: int | None = None
    """Version of the contract of plugins that it states; None if it states none."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, or of all code of its package; empty if there is none."""
        if self.file is not None:
            return self.file.digest

        where = getattr(sys.modules.get(self.source.partition(":")[0]), "__file__", None)
        return source_digest(Path(where)) if where else ""

    def __str__(self) -> str:
        if self.origin is Origin.FILE:
            return self.source
        return f"{self.name} ({self.distribution} {self.version})"


def load_installed(found: Installed) -> Plugin:
    """Return an installed plugin with its components, or with its failure."""
    origin = origin_of(found)
    with contextlib.nullcontext() if origin is Origin.BUILT_IN else output_to_stderr():
        offers = load_offers(found.load)
    return Plugin(
        found.name,
        origin,
        found.source,
        found.distribution,
        found.version,
        offers.components,
        offers.failure,
        contract=offers.contract,
    )


def origin_of(found: Installed) -> Origin:
    """Return the origin of an installed plugin."""
    return Origin.BUILT_IN if found.distribution == BUILT_IN_DISTRIBUTION else Origin.INSTALLED


def load_file(path: Path) -> Plugin:
    """Return the plugin in a file. Raises InputError naming the file if it fails to load."""
    file = PluginFile.read(path)
    file.refuse_taken_name()
    with output_to_stderr():
        offers = load_offers(file.load)
    if failure := offers.failure:
        hints = f"{_where(file, failure)}{_hint(file, failure)}"
        error = InputError(f"the plugin file {file.path} did not load: {failure.message}{hints}")
        error.add_note(failure.traceback)
        raise error
    return Plugin(
        file.name, Origin.FILE, str(file.path), components=offers.components, file=file, contract=offers.contract
    )


def _where(file: PluginFile, failure: LoadFailure) -> str:
    """Return the line of the file that failed; the text of a syntax error already has it."""
    lines = [f" (line {line}: {code})" for path, line, code in failure.places if path == str(file.path)]
    return lines[-1] if lines else ""


def _hint(file: PluginFile, failure: LoadFailure) -> str:
    """Return a hint if the file imports a file next to it, which a plugin file cannot do."""
    neighbours = [path for path in file.path.parent.glob("*.py") if path != file.path]
    named = [path.name for path in neighbours if f"No module named {path.stem!r}" in failure.message]
    return f" ({named[0]} is next to it, but a plugin of several files must be a package)" if named else ""
