"""A single Python file from the functions and classes that a few names need, wherever they are defined.

diffusers loads the code of a component from a single file. The bundle holds the source of the named definitions and of
every definition that they mention, also indirectly, module by module; imports between the modules fall away.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from dit_run.export.code_modules import Imported, SourceModule, imports_of, is_typing_block, read_module
from dit_run.export.code_names import Use, uses
from dit_run.export.code_text import Edit, edited
from dit_run.problems import InputError

__all__ = ["LIBRARIES", "CodeBundle"]

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "PIL", "safetensors", "tokenizers", "huggingface_hub")
"""Packages that exported code may import: torch, diffusers, transformers, and what these need themselves."""


@dataclass
class _Taken:
    """The part of a module that the bundle holds."""

    module: SourceModule
    statements: dict[int, list[Edit]] = field(default_factory=dict)
    """The changes to each statement, by its position in the module."""
    needs: dict[str, None] = field(default_factory=dict)
    """Names of the modules whose definitions have to stand before those of this one."""


class CodeBundle:
    """Definitions from the modules of some packages, in one file."""

    def __init__(self, packages: Collection[str]) -> None:
        """Take code from the modules of these packages, or single modules, and import everything else."""
        self._packages = frozenset(packages)
        self._names: dict[tuple[str, str | None, str], str] = {}
        self._taken: dict[str, _Taken] = {}
        self._imports: list[str] = []
        self._modules: dict[str, SourceModule | None] = {}

    def take(self, module: str, name: str) -> str:
        """Add a definition with all that it needs, and return its name in the bundle.

        Raises InputError for code that imports what an export cannot rely on, and for code without source.
        """
        found = self._find(Imported(module, name))
        if found is None or found.name is None:
            raise InputError(f"{module} defines no {name}, so it cannot be exported")
        return self._define(found.module, found.name)

    def text(self) -> str:
        """Return the imports and the definitions as the text of a module."""
        parts = ["\n".join(sorted(set(self._imports)))]
        for taken in self._in_order():
            statements = [edited(taken.module, index, edits) for index, edits in sorted(taken.statements.items())]
            parts.append("\n\n\n".join([f"# {taken.module.name}", *statements]))
        return "\n\n\n".join(parts) + "\n"

    def _in_order(self) -> list[_Taken]:
        """Return the parts of modules such that each follows those that it imports from."""
        done: dict[str, _Taken] = {}

        def add(name: str, above: tuple[str, ...]) -> None:
            if name not in done and name not in above:
                for needed in self._taken[name].needs:
                    add(needed, (*above, name))
                done[name] = self._taken[name]

        for name in self._taken:
            add(name, ())
        return list(done.values())

    def _define(self, module: str, name: str) -> str:
        """Take the statements that define a name, and return its name in the bundle."""
        source = self._module(module)
        assert source is not None
        known = self._names.get((module, name, ""))
        if known is not None:
            return known
        result = self._names[module, name, ""] = self.free(name)
        if module not in self._taken:
            self._taken[module] = _Taken(source)
            self._take_loose(source)
        for statement in source.definitions[name]:
            self._take_statement(source, statement)
        return result

    def _take_loose(self, module: SourceModule) -> None:
        """Take the statements of a module that bind nothing: calls that register something, for example."""
        binding = {id(node) for nodes in module.definitions.values() for node in nodes}
        for node in module.body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            skipped = isinstance(node, ast.Import | ast.ImportFrom) or is_typing_block(node) or _is_main(node)
            if id(node) not in binding and not is_text and not skipped:
                self._take_statement(module, node)

    def _take_statement(self, module: SourceModule, statement: ast.stmt) -> None:
        taken, index = self._taken[module.name], module.body.index(statement)
        if index in taken.statements:
            return
        edits = taken.statements[index] = []
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                edits += self._inner_import(module, node)
        for use in uses(statement):
            edits += self._replaced(module, use, taken)

    def _inner_import(self, module: SourceModule, node: ast.Import | ast.ImportFrom) -> Iterator[Edit]:
        """Yield the change to an import in a function: definitions of the bundle need none."""
        lines = []
        for local, target in imports_of(node, module):
            found = self._find(target)
            if found is None:
                self._check(target, module, node.lineno)
                continue
            if found.name is None:
                raise InputError(
                    f"{module.path}, line {node.lineno}, imports the module {found.module} in a function; import the "
                    "names that are used from it, so that the code can be exported"
                )
            name = self._define(found.module, found.name)
            lines.append("pass" if name == local else f"{local} = {name}")
        if lines:
            yield Edit.of(node, "; ".join(lines))

    def _replaced(self, module: SourceModule, use: Use, taken: _Taken) -> Iterator[Edit]:
        """Take what a name stands for, and yield the change to the place where the name stands."""
        if use.name == "__file__":
            raise InputError(
                f"{module.path}, line {use.node.lineno}, reads files next to its code, which an export does not take "
                "along"
            )
        if use.name in module.definitions:
            name = self._define(module.name, use.name)
        elif use.name in module.imports:
            target, line = module.imports[use.name]
            found = self._find(target)
            if found is None:
                name = self._import(use.name, target, module, line)
            elif found.name is None:
                yield from self._through_module(found.module, use, module, taken)
                return
            else:
                name = self._define(found.module, found.name)
                taken.needs[found.module] = None
        else:
            return
        if name != use.name:
            yield Edit.of(use.node, name if use.attribute is None else f"{name}.{use.attribute}")

    def _through_module(self, imported: str, use: Use, module: SourceModule, taken: _Taken) -> Iterator[Edit]:
        """Take ``module.name`` and yield its replacement by the name."""
        found = self._find(Imported(imported, use.attribute)) if use.attribute is not None else None
        if found is None or found.name is None:
            raise InputError(
                f"{module.path}, line {use.node.lineno}, uses the module {imported} as {use.name}; import the names "
                "that are used from it, so that the code can be exported"
            )
        yield Edit.of(use.node, self._define(found.module, found.name))
        taken.needs[found.module] = None

    def _find(self, target: Imported) -> Imported | None:
        """Return the module or definition that an import finally reaches; None for another package's."""
        if not self._is_own(target.module):
            return None
        source = self._module(target.module)
        if source is None:
            raise InputError(f"the module {target.module} cannot be exported: it is not found")
        if target.name is None or target.name in source.definitions:
            return target
        if target.name in source.imports:
            return self._find(source.imports[target.name][0]) or source.imports[target.name][0]
        if target.name in source.typing_imports:  # a package whose names are imported at their first use
            return self._find(source.typing_imports[target.name])
        submodule = f"{target.module}.{target.name}"
        return Imported(submodule) if self._module(submodule) is not None else None

    def _import(self, local: str, target: Imported, module: SourceModule, line: int) -> str:
        """Import a name from another package, and return its name in the bundle."""
        self._check(target, module, line)
        key = (target.module, target.name, local)
        if key not in self._names:
            name = self._names[key] = self.free(local)
            alias = "" if name == (target.name or target.module) else f" as {name}"
            what = f"import {target.module}" if target.name is None else f"from {target.module} import {target.name}"
            self._imports.append(what + alias)
        return self._names[key]

    def _check(self, target: Imported, module: SourceModule, line: int) -> None:
        package = target.module.partition(".")[0]
        if package not in LIBRARIES and package not in sys.stdlib_module_names:
            raise InputError(
                f"{module.path}, line {line}, imports {target.module}, which programs without dit-run do not have: "
                f"exported code may import {', '.join(LIBRARIES)}, Python's own modules, and its own package"
            )

    def _is_own(self, module: str) -> bool:
        return module.partition(".")[0] in self._packages

    def _module(self, name: str) -> SourceModule | None:
        if name not in self._modules:
            self._modules[name] = read_module(name)
        return self._modules[name]

    def free(self, name: str) -> str:
        """Return the name, or with a number if another definition or a name of Python has it."""
        used, number, result = set(self._names.values()) | set(dir(builtins)), 2, name
        while result in used:
            result, number = f"{name}_{number}", number + 1
        return result


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
