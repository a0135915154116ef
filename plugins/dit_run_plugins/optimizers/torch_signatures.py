"""The optimizers of PyTorch and their arguments, read from its source, because a config is checked without it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Parameter", "Signature", "class_names", "read_signature"]

_NO_OPTIMIZERS = ("Optimizer",)


@dataclass(frozen=True)
class Parameter:
    """An argument of a class."""

    hint: str
    """Its annotation: ``float | Tensor``, ``tuple[float, float]``."""
    default: Any
    """Its default; None for one that is no constant."""

    def takes(self, value: Any) -> bool:
        """Return True if a plain value has a type of the hint; a tuple is compared by its length only."""
        if value is None:
            return "None" in self._outer
        if isinstance(value, tuple):
            return self._length == len(value)
        if isinstance(value, bool):
            return "bool" in self._outer
        if isinstance(value, int | float):
            return "float" in self._outer or ("int" in self._outer and isinstance(value, int))
        return "str" in self._outer

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        words = {"bool": "true or false", "float": "a number", "int": "a whole number", "str": "a text", "None": "null"}
        kinds = [word for name, word in words.items() if name in self._outer]
        return " or ".join([*([f"a list of {self._length}"] if self._length else []), *kinds])

    @property
    def _outer(self) -> tuple[str, ...]:
        """Names of the hint outside of ``tuple[...]``."""
        return tuple(ast.unparse(part) for part in _members(ast.parse(self.hint, mode="eval").body))

    @property
    def _length(self) -> int:
        """Number of items that a tuple has; 0 for no tuple."""
        for part in _members(ast.parse(self.hint, mode="eval").body):
            if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Tuple):
                return len(part.slice.elts)
        return 0


@dataclass(frozen=True)
class Signature:
    """The arguments of an optimizer class of PyTorch."""

    name: str
    parameters: Mapping[str, Parameter]
    needs_closure: bool
    """True if a step needs a function that computes the loss."""


def class_names() -> tuple[str, ...]:
    """Return the names of all optimizers of ``torch.optim``."""
    return tuple(name for name in _modules() if name not in _NO_OPTIMIZERS)


@functools.cache
def read_signature(name: str) -> Signature:
    """Return the arguments of a class of :func:`class_names`."""
    tree = ast.parse((_folder() / f"{_modules()[name]}.py").read_text(encoding="utf-8"))
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
    step = methods.get("step")
    closure = step is not None and len(step.args.args) > 1 and not step.args.defaults
    return Signature(name, dict(_parameters(methods["__init__"].args)), closure)


def _parameters(arguments: ast.arguments) -> Iterator[tuple[str, Parameter]]:
    named, defaults = arguments.args, arguments.defaults
    missing: list[ast.expr | None] = [None] * (len(named) - len(defaults))
    by_position = zip(named, [*missing, *defaults], strict=True)
    by_keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in (*by_position, *by_keyword):
        if argument.annotation is not None:  # all but self
            yield argument.arg, Parameter(ast.unparse(argument.annotation), _constant(default))


def _constant(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _members(hint: ast.expr) -> Iterator[ast.expr]:
    """Yield the members of ``X | Y``."""
    if isinstance(hint, ast.BinOp):
        yield from _members(hint.left)
        yield from _members(hint.right)
    else:
        yield hint


@functools.cache
def _modules() -> Mapping[str, str]:
    """Return the module of each class that ``torch.optim`` imports: ``{"RAdam": "radam"}``."""
    tree = ast.parse((_folder() / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: str(node.module).removeprefix("torch.optim.")
        for node in imports
        for alias in node.names
        if str(node.module).startswith("torch.optim.") and alias.name[:1].isupper()
    }


def _folder() -> Path:
    spec = find_spec("torch")  # which imports nothing
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("torch is not installed")
    return Path(spec.submodule_search_locations[0]) / "optim"
