"""Layers: the files that a config extends, the file itself and the command line's arguments, merged on nodes."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dit_run.config.environment import expand
from dit_run.config.merge import join, merge
from dit_run.config.nodes import COMMAND_LINE, Entry, ListNode, MapNode, Node, Scalar, Source, Span
from dit_run.config.package_data import packaged
from dit_run.config.suggestions import did_you_mean
from dit_run.config.yaml_parser import MAX_BYTES, parse, read_source
from dit_run.problems import Place, Problem

__all__ = ["Layers", "read_layers"]

_MOST_FILES = 64
_MOST_NAMES = 8


@dataclass
class Layers:
    """What was read, lowest layer first."""

    roots: list[MapNode] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    """False where a layer could not be read, so that nothing can be said about the whole."""

    def merged(self) -> MapNode:
        root = self.roots[0]
        for layer in self.roots[1:]:
            root = merge(root, layer)
        return root


def read_layers(path: str | Path, overrides: Sequence[str] = ()) -> Layers:
    """Read a config file, all that it extends, and ``key=value`` arguments."""
    layers = Layers()
    _read_file(str(path), Path(path), layers, chain=(), extended_at=None)
    _read_arguments(overrides, layers)
    return layers


# -------------------------------------------------------------------------------------------------------------- files


def _read_file(name: str, path: Path, layers: Layers, chain: tuple[Path, ...], extended_at: Place | None) -> None:
    content = _content(name, path, layers, chain, extended_at)
    if content is None:
        layers.complete = False
        return
    actual = _actual(name, path)
    source, problems = read_source(content, name, actual.parent)
    layers.problems += problems
    root = None if problems else _root(source, layers)
    if root is None:
        layers.sources.append(source)
        layers.complete = False
        return
    for scalar in _extended(root, layers):
        base = str(scalar.value)
        shown = str(Path(name).parent / base)
        _read_file(shown, actual.parent / base, layers, (*chain, _real(actual)), scalar.span.place())
    layers.sources.append(source)
    layers.roots.append(root)


def _content(name: str, path: Path, layers: Layers, chain: tuple[Path, ...], extended_at: Place | None) -> bytes | None:
    place = extended_at or Place(name, 1, 1)
    if _real(path) in chain:
        ring = " -> ".join([*(p.name for p in chain[chain.index(_real(path)) :]), path.name])
        layers.problems.append(Problem("extends-cycle", f"extends goes round in a circle: {ring}", place=place))
        return None
    if len(layers.sources) + len(chain) > _MOST_FILES:
        layers.problems.append(Problem("too-many-files", f"extends reads more than {_MOST_FILES} files", place=place))
        return None
    actual = _actual(name, path)
    if actual != path:
        layers.problems.append(
            Problem(
                "packaged-config",
                f"{name} is not here; using the one that comes with dit-run",
                severity="notice",
                place=Place(name, 1, 1),
                help=(f"it is {actual}",),
            )
        )
    try:
        return _bytes(actual)
    except OSError as error:
        message = f"cannot read {name}: {error.strerror or error}"
        layers.problems.append(Problem("missing-file", message, place=extended_at, help=_beside(actual)))
        return None


def _real(path: Path) -> Path:
    """The path without links; one that goes round in a circle of links stays as it is."""
    return Path(os.path.realpath(path))


def _bytes(path: Path) -> bytes:
    """The content of a regular file; of one that is too large, as much as shows that it is."""
    if not path.exists():
        raise OSError("there is no such file")
    if not path.is_file():
        raise OSError("it is no file" if not path.is_dir() else "it is a folder")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _actual(name: str, path: Path) -> Path:
    """The packaged config of that name where ``configs/NAME.yaml`` is not in the working directory."""
    if path.parent == Path("configs") and not path.exists() and packaged(name).is_file():
        return packaged(name)
    return path


def _beside(path: Path) -> tuple[str, ...]:
    if not path.parent.is_dir():
        return ()
    names = sorted(p.name for p in path.parent.glob("*.y*ml"))
    listed = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    return did_you_mean(path.name, names) or ((f"in {path.parent} are: {listed}",) if names else ())


def _root(source: Source, layers: Layers) -> MapNode | None:
    root, problems = parse(source)
    layers.problems += problems
    if root is None and problems:
        return None
    if root is None or (isinstance(root, Scalar) and root.value is None and root.plain):
        root = MapNode(Span(source, 0, 0, 0, 0))
    if not isinstance(root, MapNode):
        message = "a config is a mapping of sections such as 'model:' and 'training:'"
        layers.problems.append(Problem("not-a-mapping", message, place=root.span.place()))
        return None
    _name_types(root, layers)
    return root


def _name_types(root: MapNode, layers: Layers) -> None:
    """``data.dataset_name`` is the old name of ``data.type``; it stands under ``type`` from here on."""
    data = root.entries.get("data")
    if data is None or not isinstance(data.node, MapNode) or "dataset_name" not in data.node.entries:
        return
    entries = data.node.entries
    old, new = entries["dataset_name"], entries.get("type")
    if new is None:
        data.node.entries = {("type" if key == "dataset_name" else key): entry for key, entry in entries.items()}
        return
    del entries["dataset_name"]
    if isinstance(old.node, Scalar) and isinstance(new.node, Scalar) and old.node.value != new.node.value:
        layers.problems.append(
            Problem(
                "two-types",
                f"data.dataset_name is '{old.node.value}' and data.type is '{new.node.value}'",
                place=old.node.span.place(),
                related_places=(new.node.span.place(),),
                help=("dataset_name is the old name of type; keep one of the two",),
            )
        )


def _extended(root: MapNode, layers: Layers) -> list[Scalar]:
    entry = root.entries.pop("extends", None)
    if entry is None:
        return []
    items = entry.node.items if isinstance(entry.node, ListNode) else [entry.node]
    found: list[Scalar] = []
    for item in items:
        if isinstance(item, Scalar) and item.broken:
            continue
        if not (isinstance(item, Scalar) and isinstance(item.value, str) and item.value):
            message = "extends takes the path of a file, or a list of paths"
            layers.problems.append(Problem("wrong-type", message, place=item.span.place()))
            continue
        found.append(expand(item, layers.problems))
    return [item for item in found if isinstance(item.value, str)]


# ---------------------------------------------------------------------------------------------------------- arguments


def _read_arguments(arguments: Sequence[str], layers: Layers) -> None:
    lines = tuple(arguments)
    source = Source(COMMAND_LINE, "", lines, Path())
    if arguments:
        layers.sources.append(source)
    roots = []
    for number, argument in enumerate(lines):
        root = _argument(number, argument, source, layers)
        if root is not None:
            _name_types(root, layers)
            roots.append(root)
    if roots:
        layers.roots.append(functools.reduce(join, roots))


def _argument(number: int, argument: str, source: Source, layers: Layers) -> MapNode | None:
    key, equals, text = argument.partition("=")
    steps = key.split(".")
    if not equals or not all(steps) or len(argument.splitlines()) > 1:
        message = f"'{argument}' is not of the form section.key=value, on one line"
        place = Place(COMMAND_LINE, number + 1, 1, max(1, len(argument)), argument)
        layers.problems.append(Problem("bad-argument", message, place=place))
        return None
    padded = "\n" * number + " " * (len(key) + 1) + text
    value, problems = parse(Source(COMMAND_LINE, padded, source.lines, source.directory))
    layers.problems += problems
    if value is None and problems:
        layers.complete = False
        return None
    end = Span(source, number, len(argument), number, len(argument))
    return _nested(steps, value if value is not None else Scalar(end, None, plain=True), source, number)


def _nested(steps: list[str], value: Node, source: Source, number: int) -> MapNode:
    column = sum(len(step) + 1 for step in steps)
    node: Node = value
    for step in reversed(steps):
        column -= len(step) + 1
        span = Span(source, number, column, number, column + len(step))
        node = MapNode(span, {step: Entry(step, span, node)})
    assert isinstance(node, MapNode)
    return node
