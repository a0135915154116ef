"""Names in Python code: those that a statement binds, and those that it takes from its module."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

__all__ = ["Use", "bound_names", "uses"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Use:
    """A place in the code where a name of the module stands."""

    name: str
    node: ast.Name | ast.Attribute
    """The name, or for ``module.name`` of an imported module the attribute."""
    attribute: str | None = None


def bound_names(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind in their scope, those in blocks of ``if``, ``try``, ``for`` included."""
    for statement in statements:
        if isinstance(statement, _Function | ast.ClassDef):
            yield statement.name
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
        for node in _same_scope(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                yield node.id
            elif isinstance(node, ast.ExceptHandler) and node.name:
                yield node.name
            elif isinstance(node, ast.stmt) and node is not statement:
                yield from bound_names([node])


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes in ``node`` that share its scope, but not those in statements in it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif not isinstance(child, ast.Lambda | _Comprehension):
            yield from _same_scope(child)


def uses(statement: ast.stmt) -> list[Use]:
    """Return the places of the names that a statement at the top of a module reads from the module or binds in it."""
    visitor = _Visitor()
    visitor.visit(statement)
    return visitor.found


class _Visitor(ast.NodeVisitor):
    """Collects the names that no enclosing function, class body or comprehension binds."""

    def __init__(self) -> None:
        self.found: list[Use] = []
        self._scopes: list[tuple[bool, set[str]]] = []
        """For each enclosing scope: True for a class body, and the names that it binds."""

    def visit_Name(self, node: ast.Name) -> None:
        if self._is_global(node.id):
            self.found.append(Use(node.id, node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and self._is_global(node.value.id):
            self.found.append(Use(node.value.id, node, node.attr))
        else:
            self.visit(node.value)

    def visit_FunctionDef(self, node: _Function) -> None:
        self._visit_defined(node, "async def" if isinstance(node, ast.AsyncFunctionDef) else "def")
        arguments = node.args
        outer = [*node.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults), node.returns]
        outer += [argument.annotation for argument in _arguments(arguments)]
        self._visit_all(outer)
        names = {argument.arg for argument in _arguments(arguments)} | set(bound_names(node.body))
        self._in_scope(names - _global_names(node), node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self._in_scope({argument.arg for argument in _arguments(node.args)}, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_defined(node, "class")
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._in_scope(set(bound_names(node.body)), node.body, is_class=True)

    def visit_ListComp(self, node: _Comprehension) -> None:
        targets = {name.id for part in node.generators for name in ast.walk(part.target) if isinstance(name, ast.Name)}
        self._in_scope(targets, list(ast.iter_child_nodes(node)))

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def _visit_defined(self, node: _Function | ast.ClassDef, keyword: str) -> None:
        """Visit the name after the keyword, which is no node of the tree."""
        start = node.col_offset + len(keyword) + 1
        end = start + len(node.name.encode())
        place = {"lineno": node.lineno, "end_lineno": node.lineno, "col_offset": start, "end_col_offset": end}
        self.visit_Name(ast.Name(node.name, ast.Store(), **place))

    def _in_scope(self, names: set[str], nodes: Iterable[ast.AST], *, is_class: bool = False) -> None:
        self._scopes.append((is_class, names))
        self._visit_all(nodes)
        self._scopes.pop()

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _is_global(self, name: str) -> bool:
        seen = (names for is_class, names in self._scopes[:-1] if not is_class)
        return not any(name in names for names in chain(seen, (names for _, names in self._scopes[-1:])))


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from chain(arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
    yield from filter(None, (arguments.vararg, arguments.kwarg))


def _global_names(function: _Function) -> set[str]:
    return {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
