"""Components inside an option: the mark of an option that holds a list of components of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["ComponentsOf", "HasPlainValues", "components_of"]


@dataclass(frozen=True)
class ComponentsOf:
    """The components that an option holds; made by :func:`components_of`."""

    kind: str
    item: type
    """Options class of the keys that each component has in this list, next to its own."""
    without: tuple[str, ...]
    """Names of the kind's common keys that the components do not take."""


def components_of(kind: str, item: type, *, without: tuple[str, ...] = ()) -> ComponentsOf:
    """Return the mark of an option that holds one component of a kind or more, to use inside ``Annotated``.

    The hint is ``tuple[Choice, ...]`` with :class:`dit_run.settings.Choice`. Each component is a mapping with ``type``,
    the keys of its type, those of the options class ``item``, and the common keys of the kind except for ``without``.
    Where the option belongs to a component of the same kind, common keys that are not written have the values of that
    component. Types that hold components themselves are not accepted.
    """
    return ComponentsOf(kind, item, without)


@runtime_checkable
class HasPlainValues(Protocol):
    """A value of an option that is no plain YAML value itself: a chosen component."""

    def to_dict(self) -> dict[str, object]:
        """Return the value as plain YAML values."""
        ...
