"""Optional packages: import one that a type of dataset needs, or say how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dit_run.problems import InputError

__all__ = ["import_extra"]


def import_extra(module: str, extra: str) -> Any:
    """Import a module of the extra that has the name of a type. Raises InputError if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"data: type {extra} needs the package {package}, which cannot be imported ({error}): "
            f"pip install 'dit-run[{extra}]'"
        ) from error
