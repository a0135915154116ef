"""Optional packages: import one that a type needs, or say how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dit_run.problems import InputError

__all__ = ["import_extra"]


def import_extra(module: str, extra: str, *, section: str = "data", type_: str | None = None) -> Any:
    """Import a module of an extra, which has the name of the type unless ``type_`` is another.

    Raises InputError, naming the config's section and type, if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"{section}: type {type_ or extra} needs the package {package}, which cannot be imported ({error}): "
            f"pip install 'dit-run[{extra}]'"
        ) from error
