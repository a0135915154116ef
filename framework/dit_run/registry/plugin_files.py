"""Plugin files: a plugin in one file that a config names, imported under its stem here and in loading processes."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from dit_run.problems import InputError

__all__ = ["PluginFile", "PluginFiles", "plugin_file"]


@dataclass(frozen=True)
class PluginFile:
    """A plugin file as it was when it was read: what runs is what the digest says, also in another process."""

    path: Path
    """Absolute."""
    source: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> PluginFile:
        """Raises InputError for a file that cannot be read, or whose stem is no module's name."""
        path = path.absolute()
        try:
            source = path.read_bytes()
        except OSError as error:
            raise InputError(f"the plugin file {path} cannot be read: {error.strerror}") from error
        if not path.stem.isidentifier():
            raise InputError(
                f"the plugin file {path} cannot be imported: its stem becomes a module's name, and {path.stem!r} is "
                "none; rename it with letters, digits and underscores"
            )
        return cls(path, source)

    @property
    def name(self) -> str:
        """The module's name: the stem."""
        return self.path.stem

    @property
    def digest(self) -> str:
        """sha256 of the bytes."""
        import hashlib  # loads OpenSSL

        return hashlib.sha256(self.source).hexdigest()

    def load(self) -> ModuleType:
        """The module under its name in ``sys.modules``, so that what it defines can be pickled.

        A file that was loaded for another config under the same name gives way. Raises InputError where the name
        means a module that is no plugin file, and whatever the file raises.
        """
        known = sys.modules.get(self.name)
        file = plugin_file(known)
        if known is not None and file is not None:
            return known if file == self else self._execute(known)
        self.refuse_taken_name()
        return self._execute(None) if known is None else known

    def refuse_taken_name(self) -> None:
        """Raises InputError where the name means a module that is no plugin file."""
        where = self._taken_by()
        if where is not None:
            raise InputError(
                f"the plugin file {self.path} cannot be imported as {self.name!r}: that already means the module "
                f"{where}; rename the file"
            )

    def _taken_by(self) -> str | None:
        """Where the other module of this name is; None for none, or for another plugin file's."""
        known = sys.modules.get(self.name)
        if plugin_file(known) is not None:
            return None
        where = getattr(known, "__file__", None) or "built into Python"
        if known is not None and Path(where).resolve() != self.path.resolve():
            return where
        return _origin(self.name, ignored={self.path.parent.resolve(), Path.cwd()})

    def _execute(self, replaced: ModuleType | None) -> ModuleType:
        loader = _Loader(self)
        spec = importlib.util.spec_from_loader(self.name, loader, origin=str(self.path))
        assert spec is not None
        spec.has_location = True
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[self.name]
            if replaced is not None:
                sys.modules[self.name] = replaced
            raise
        return module


def _origin(name: str, ignored: Collection[Path]) -> str | None:
    """Where a name would come from but for some folders; a bare folder is no module.

    Files in the working directory are modules only where Python was started with ``-m``.
    """
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or _folder(spec) in ignored:
        elsewhere = [entry for entry in sys.path if Path(entry).resolve() not in ignored]
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.origin is None:
        return None
    return spec.origin if spec.has_location else "built into Python"


def _folder(spec: importlib.machinery.ModuleSpec) -> Path | None:
    """The folder on the path that a module was found in."""
    if spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin).resolve().parents[1 if spec.submodule_search_locations else 0]


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs the bytes that were read; writes and reads no bytecode."""

    def __init__(self, file: PluginFile) -> None:
        super().__init__(file.name, str(file.path))
        self.file = file

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.file.source, self.path)
        return code


def plugin_file(module: ModuleType | None) -> PluginFile | None:
    """The plugin file that a module was made from; None for any other module."""
    loader = getattr(module, "__loader__", None)
    return loader.file if isinstance(loader, _Loader) else None


@dataclass(frozen=True)
class PluginFiles:
    """Plugin files that travel: where this is unpickled they are imported, as they were here.

    An object that goes to another process and holds what they define has this as its first field: fields are
    unpickled in order.
    """

    files: tuple[PluginFile, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.files,)


def _arrive(files: tuple[PluginFile, ...]) -> PluginFiles:
    for file in files:
        file.load()
    return PluginFiles(files)
