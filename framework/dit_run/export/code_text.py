"""The text of statements in a file of Python code, with some of their names replaced."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from dit_run.export.code_modules import SourceModule

__all__ = ["Edit", "edited"]


@dataclass(frozen=True, order=True)
class Edit:
    """A span of one module's text, and the text in its place."""

    line: int
    """Counted from 1."""
    column: int
    """In bytes of UTF-8, as in the syntax tree."""
    end_line: int
    end_column: int
    text: str

    @classmethod
    def of(cls, node: ast.expr | ast.stmt, text: str) -> Edit:
        """Return the replacement of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return cls(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, text)


def edited(module: SourceModule, index: int, edits: Sequence[Edit]) -> str:
    """Return a statement of the module with its decorators, the comments above it and the docstring below it."""
    statement = module.body[index]
    first, last = _first_line(statement), _last_line(module, index)
    while first > 1 and module.lines[first - 2].startswith("#"):
        first -= 1
    lines = [line.encode() for line in module.lines]
    for edit in sorted(set(edits), reverse=True):
        start, end = lines[edit.line - 1], lines[edit.end_line - 1]
        lines[edit.line - 1] = start[: edit.column] + edit.text.encode() + end[edit.end_column :]
        for line in range(edit.line, edit.end_line):
            lines[line] = b"\0"  # joined into the first one
    kept = [line for line in lines[first - 1 : last] if line != b"\0"]
    return b"\n".join(kept).decode()


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(each.lineno for each in decorators)])


def _last_line(module: SourceModule, index: int) -> int:
    """Return the last line of a statement, or of the docstring below an assignment."""
    statement, following = module.body[index], module.body[index + 1 : index + 2]
    assigns = isinstance(statement, ast.Assign | ast.AnnAssign)
    for node in following if assigns else ():
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            statement = node
    return statement.end_lineno or 0
