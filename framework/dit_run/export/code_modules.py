"""Modules of the code that an export takes along: their source, and what their names stand for."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dit_run.export.code_names import bound_names
from dit_run.problems import InputError
from dit_run.registry.plugin_files import plugin_file

__all__ = ["Imported", "SourceModule", "imports_of", "read_module"]


@dataclass(frozen=True)
class Imported:
    """The target of an import: a module, or a name in it."""

    module: str
    name: str | None = None


@dataclass(frozen=True)
class SourceModule:
    """A module's source and its statements at the top."""

    name: str
    path: Path
    lines: tuple[str, ...] = field(repr=False)
    body: tuple[ast.stmt, ...] = field(repr=False)
    is_package: bool

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """The statements that bind each name, without imports at the top and those for type checkers."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.body:
            if not isinstance(statement, ast.Import | ast.ImportFrom) and not is_typing_block(statement):
                for name in dict.fromkeys(bound_names([statement])):
                    found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[Imported, int]]:
        """The target and the line of each name that is imported at the top."""
        return {name: (target, node.lineno) for node in self.body for name, target in imports_of(node, self)}

    @cached_property
    def typing_imports(self) -> dict[str, Imported]:
        """The targets of names that are imported for type checkers only."""
        blocks = [node for node in self.body if is_typing_block(node)]
        return {name: target for block in blocks for node in ast.walk(block) for name, target in imports_of(node, self)}


def is_typing_block(node: ast.stmt) -> bool:
    """Return True for ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports_of(node: ast.AST, module: SourceModule) -> Iterator[tuple[str, Imported]]:
    """Yield the names that an import statement binds, with their targets. Raises InputError for ``import *``."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                Imported(alias.name if alias.asname else alias.name.partition(".")[0]),
            )
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        source = _absolute(node, module)
        for alias in node.names:
            if alias.name == "*":
                raise InputError(
                    f"{module.path}, line {node.lineno}, imports all names of {source}, and an export takes along only "
                    "what is named; import each name"
                )
            yield alias.asname or alias.name, Imported(source, alias.name)


def _absolute(node: ast.ImportFrom, module: SourceModule) -> str:
    if not node.level:
        return node.module or ""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def read_module(name: str) -> SourceModule | None:
    """Return a module without running it; None if there is no module of this name. Raises InputError without source."""
    file = plugin_file(sys.modules.get(name))
    if file is not None:
        return _parsed(name, file.path, file.source.decode(), is_package=False)
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None:
        return None
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise InputError(f"the module {name} cannot be exported: it has no Python source ({spec.origin})")
    path = Path(spec.origin)
    return _parsed(name, path, path.read_text(encoding="utf-8"), is_package=spec.submodule_search_locations is not None)


def _parsed(name: str, path: Path, source: str, *, is_package: bool) -> SourceModule:
    return SourceModule(name, path, tuple(source.splitlines()), tuple(ast.parse(source).body), is_package)
