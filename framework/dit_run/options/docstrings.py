"""Docstrings of an options class and of its fields, read from the source."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
import typing

__all__ = ["documentation", "summary"]


@functools.cache
def documentation(cls: type) -> dict[str, str]:
    """Return the docstring under each field, base classes included; empty if there is no source."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        texts |= _field_docstrings(base)
    return texts


def _field_docstrings(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    texts = {}
    for node, following in itertools.pairwise(body):
        match node, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


def summary(cls: type) -> str:
    """Return the docstring of an options class; empty for the one that dataclasses write."""
    text = cls.__doc__ or ""
    return "" if text.startswith(f"{cls.__name__}(") else inspect.cleandoc(text)
