"""Plugin files: a plugin in one file that a config names, imported under its stem here and in loading processes."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from dit_run.problems import InputError

__all__ = ["PluginFile", "PluginFiles"]


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
        loader = getattr(known, "__loader__", None)
        if known is not None and isinstance(loader, _Loader):
            return known if loader.file == self else self._execute(known)
        self.refuse_taken_name()
        return self._execute(None) if known is None else known

    def refuse_taken_name(self) -> None:
        """Raises InputError where the name means a module that is no plugin file."""
        where = self._taken_by()
        if where is not None and Path(where).resolve() != self.path.resolve():
            raise InputError(
                f"the plugin file {self.path} cannot be imported as {self.name!r}: that already means the module "
                f"{where}; rename the file"
            )

    def _taken_by(self) -> str | None:
        """Where the module of this name is; None for none, or for another plugin file's."""
        known = sys.modules.get(self.name)
        if known is None:
            return _origin(self.name)
        if isinstance(getattr(known, "__loader__", None), _Loader):
            return None
        return getattr(known, "__file__", None) or "built into Python"

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


def _origin(name: str) -> str | None:
    """Where a name that is not imported yet would come from; a bare folder is no module."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return spec.origin if spec.has_location else "built into Python"


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs the bytes that were read; writes and reads no bytecode."""

    def __init__(self, file: PluginFile) -> None:
        super().__init__(file.name, str(file.path))
        self.file = file

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.file.source, self.path)
        return code


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
