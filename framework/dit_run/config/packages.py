"""Packages that are known to provide types which dit-run does not bring itself."""

from __future__ import annotations

from collections.abc import Mapping

from dit_run.registry.components import Kind

__all__ = ["known_package"]

_KNOWN: Mapping[tuple[Kind, str], str] = {
    (Kind.OPTIMIZER, "lion"): "dit-run-lion",
}


def known_package(kind: Kind, type_: str) -> str | None:
    """The distribution that provides a type, where one is known."""
    return _KNOWN.get((kind, type_))
