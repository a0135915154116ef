"""Plugin code: the digest of the source behind a built component, which is part of its cache key."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

from dit_run.registry.plugin_files import plugin_file

__all__ = ["BUILT_IN", "CORE", "code_digest", "source_digest"]

CORE, BUILT_IN = "dit_run", "dit_run_plugins"
"""The packages of this distribution, whose components raise a version in their fingerprints when they change."""

_LIBRARIES = ("site-packages", "dist-packages")
"""Names of folders of installed packages."""


def code_digest(factory: str | Callable[..., Any], built: Any) -> str:
    """Return the hex SHA-256 of the source of the plugin that built a component; empty for a built-in one.

    It covers the plugin file, or the whole packages of the factory, of the component's class and of the classes of its
    submodules and their bases. Of other installed packages, such as torch, it covers nothing.
    """
    own = {_module_of(factory), type(built).__module__}
    parts = built.modules() if hasattr(built, "modules") else (built,)
    used = {each.__module__ for part in parts for each in type(part).__mro__}
    digests = {digest for name in own for digest in _digests(name)}
    digests |= {digest for name in used - own for digest in _digests(name, libraries=False)}
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest() if digests else ""


def source_digest(file: Path) -> str:
    """Return the SHA-256 of the code of a module: all code files of its package, or its one file."""
    root = file
    while (root.parent / "__init__.py").exists():
        root = root.parent
    return _tree_digest(root)


def _module_of(factory: str | Callable[..., Any]) -> str:
    if isinstance(factory, str):
        return factory.partition(":")[0]
    while isinstance(factory, partial):
        factory = factory.func
    return str(getattr(inspect.unwrap(factory), "__module__", ""))


def _digests(name: str, *, libraries: bool = True) -> Iterator[str]:
    """Yield the digest of the code that a module belongs to, unless it is built in or left out as a library."""
    module = sys.modules.get(name)
    file = plugin_file(module)
    if file is not None:
        yield file.digest
        return
    place = getattr(module, "__file__", None)
    if module is None or place is None or name.partition(".")[0] in (CORE, BUILT_IN, *sys.stdlib_module_names):
        return
    if libraries or not set(_LIBRARIES) & set(Path(place).parts):
        yield _package_digest(module, Path(place))


def _package_digest(module: ModuleType, file: Path) -> str:
    """Return the digest of a module's package; a folder without ``__init__.py`` is a package, too."""
    folder = file.parent
    return source_digest(file) if module.__package__ in ("", None) or _is_package(folder) else _tree_digest(folder)


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").exists()


def _tree_digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in _code_files(root) if root.is_dir() else [root]:
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root.parent).as_posix()}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _code_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name.endswith((".py", *EXTENSION_SUFFIXES)))
