"""Plugin files: a plugin in one file that a config names, imported as a module, also in worker processes."""

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
    """A plugin file with its content: the code that runs is the code of the digest, also in another process."""

    path: Path
    """Absolute."""
    source: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> PluginFile:
        """Read a file. Raises InputError if it cannot be read or its stem is not a valid module name."""
        path = path.absolute()
        try:
            source = path.read_bytes()
        except OSError as error:
            raise InputError(f"the plugin file {path} cannot be read: {error.strerror}") from error
        if not path.stem.isidentifier():
            raise InputError(
                f"the plugin file {path} cannot be imported: {path.stem!r} is not a valid name of a module; "
                "rename the file with letters, digits and underscores"
            )
        return cls(path, source)

    @property
    def name(self) -> str:
        """The name of the module: the stem of the file."""
        return self.path.stem

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        import hashlib  # loads OpenSSL

        return hashlib.sha256(self.source).hexdigest()

    def load(self) -> ModuleType:
        """Import the file under its name in ``sys.modules``, so that its classes can be pickled.

        It replaces another plugin file of the same name. Raises InputError if the name belongs to a module that is not
        a plugin file, and whatever the file raises.
        """
        known = sys.modules.get(self.name)
        file = plugin_file(known)
        if known is not None and file is not None:
            return known if file == self else self._execute(known)
        self.refuse_taken_name()
        return self._execute(None) if known is None else known

    def refuse_taken_name(self) -> None:
        """Raise InputError if the name belongs to a module that is not a plugin file."""
        where = self._taken_by()
        if where is not None:
            raise InputError(
                f"the plugin file {self.path} cannot be imported as {self.name!r}: that already means the module "
                f"{where}; rename the file"
            )

    def _taken_by(self) -> str | None:
        """Return the place of another module of this name; None without one, or if that is a plugin file."""
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
    """Return the place that a module name is imported from, without the ignored folders, or None.

    A folder without ``__init__.py`` does not count. Files in the working directory are importable only if Python was
    started with ``-m``.
    """
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or _folder(spec) in ignored:
        elsewhere = [entry for entry in sys.path if Path(entry).resolve() not in ignored]
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.origin is None:
        return None
    return spec.origin if spec.has_location else "built into Python"


def _folder(spec: importlib.machinery.ModuleSpec) -> Path | None:
    """Return the folder on the path in which a module was found."""
    if spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin).resolve().parents[1 if spec.submodule_search_locations else 0]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loader that runs the bytes of a PluginFile, and neither reads nor writes bytecode."""

    def __init__(self, file: PluginFile) -> None:
        super().__init__(file.name, str(file.path))
        self.file = file

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.file.source, self.path)
        return code


def plugin_file(module: ModuleType | None) -> PluginFile | None:
    """Return the plugin file of a module; None for any other module."""
    loader = getattr(module, "__loader__", None)
    return loader.file if isinstance(loader, _Loader) else None


@dataclass(frozen=True)
class PluginFiles:
    """Plugin files for another process, which imports them when it unpickles this object.

    Put it into the first field of an object that holds instances of their classes: fields are unpickled in order.
    """

    files: tuple[PluginFile, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.files,)


def _arrive(files: tuple[PluginFile, ...]) -> PluginFiles:
    for file in files:
        file.load()
    return PluginFiles(files)
