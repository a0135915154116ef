"""The scripts of the page as one, for a file that is opened from disk, where a browser loads no other module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["one_script"]

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w-]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def one_script(folder: Path, main: str) -> str:
    """Return a module and all that it imports; each module stays a scope of its own."""
    return "\n".join(_wrapped(folder, name) for name in dict.fromkeys(_order(folder, main)))


def _order(folder: Path, name: str) -> Iterator[str]:
    for _, imported in _IMPORT.findall(_read(folder, name)):
        yield from _order(folder, imported)
    yield name


def _wrapped(folder: Path, name: str) -> str:
    text = _IMPORT.sub(lambda match: f"const {match[1]} = module_{match[2]};", _read(folder, name))
    exported = ", ".join(found[1] for found in _EXPORT.findall(text))
    body = _EXPORT.sub(r"\1", text)
    return f"const module_{name} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();"


def _read(folder: Path, name: str) -> str:
    return (folder / f"{name}.js").read_text(encoding="utf-8")
