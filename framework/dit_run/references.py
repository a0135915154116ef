"""References: whether ``package.module:function`` can be meant, told without importing the module."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from typing import Any

__all__ = ["missing"]

_DYNAMIC = r"__getattr__|import\s*\*|globals\(\)"


def missing(reference: str) -> str | None:
    """What of a reference is not there; None where nothing speaks against it.

    Looks the module up where it would be imported from and for the function's name in its source: a name that the
    source does not contain cannot be imported, unless the module makes its names while it runs.
    """
    name, _, function = reference.partition(":")
    module = sys.modules.get(name)
    if module is not None and hasattr(module, function):
        return None
    spec = _spec(name)
    if spec is None:
        return f"there is no module {name}"
    source = _source(spec, name)
    if source is None or f"def {function}(" in source or re.search(rf"\b{function}\b|{_DYNAMIC}", source):
        return None
    return f"module {name} has no {function!r}"


def _spec(name: str) -> ModuleSpec | None:
    """The spec of a module, found without importing the packages that it lies in."""
    path: Sequence[str] | None = None
    spec = None
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        spec = _found(".".join(parts[:length]), path)
        if spec is None or (length < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _found(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    known = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(known, ModuleSpec):
        return known
    finders: list[Any] = sys.meta_path
    specs = (finder.find_spec(name, path) for finder in finders if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def _source(spec: ModuleSpec, name: str) -> str | None:
    read = getattr(spec.loader, "get_source", None)
    if read is None:
        return None
    try:
        text: str | None = read(name)
    except (ImportError, SyntaxError, UnicodeDecodeError):
        return None
    return text
