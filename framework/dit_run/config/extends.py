"""Layers of a config: the files that ``extends`` names, the file itself, and ``key=value`` arguments on top."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dit_run.config.combined_sections import unwrap_single
from dit_run.config.describe import received
from dit_run.config.environment import escape, expand
from dit_run.config.home_folders import path_of
from dit_run.config.keys import key_name
from dit_run.config.merge import merge
from dit_run.config.nodes import COMMAND_LINE, ListNode, MapNode, Scalar, Source, Span, find, value_of
from dit_run.config.old_keys import rename_old_keys
from dit_run.config.overrides import parse_overrides
from dit_run.config.package_data import packaged
from dit_run.config.run_config import OUTPUT_DIR, RUN_CONFIG, RUN_FOLDER, lies_in_run_folder
from dit_run.config.suggestions import did_you_mean
from dit_run.config.yaml_parser import MAX_BYTES, parse, read_source
from dit_run.problems import Place, Problem

__all__ = ["Layers", "read_layers"]

_MOST_FILES = 64
_MOST_NAMES = 8


def read_layers(path: str | Path, overrides: Sequence[str] = ()) -> Layers:
    """Read a config file, the files it extends, and ``key=value`` arguments.

    A folder means its ``config.yaml``. In a run folder that file stands for the run that lies there, whatever its
    ``training.output_dir``, because the folder may have been moved or copied.
    """
    layers, file = Layers(), Path(path) / RUN_CONFIG if Path(path).is_dir() else Path(path)
    layers.add_file(str(file), file)
    if lies_in_run_folder(file):
        layers.add_run_folder(file.parent)
    layers.add_overrides(overrides)
    return layers


@dataclass
class Layers:
    """The layers of one config, lowest first, and the problems found while reading them."""

    roots: list[MapNode] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    """False if a layer could not be read, so that the merged config is unknown."""

    def merged(self) -> MapNode:
        """Return all layers as one; in each of them a list of one component becomes that component."""
        for layer in self.roots:
            unwrap_single(layer)
        root = self.roots[0]
        for layer in self.roots[1:]:
            root = merge(root, layer)
        return root

    def add_file(self, name: str, path: Path, chain: tuple[Path, ...] = (), extended_at: Place | None = None) -> None:
        """Add a file on top of the files it extends; ``chain`` lists the files whose ``extends`` led to it."""
        file = _packaged_or_same(path, beside=chain[-1].parent if chain else None)
        content = self._content(name, file, chain, extended_at)
        if content is None:
            self.complete = False
            return
        if file != path:
            self.problems.append(_packaged_notice(name, file))
        source, problems = read_source(content, name, file.parent)
        root = None if problems else self._root(source)
        self.problems += problems
        if root is None:
            self.complete = False
        else:
            for base in self._extended(root):
                named = path_of(str(base.value))
                shown = str(Path(name).parent / named)
                self.add_file(shown, file.parent / named, (*chain, _real(file)), base.span.place())
            self.roots.append(root)
        self.sources.append(source)

    def add_run_folder(self, folder: Path) -> None:
        """Set the run folder to the one that the config lies in, and report another one that is written there."""
        entry, node = find(self.roots[0], OUTPUT_DIR) if self.roots else (None, None)
        if entry is not None and entry.node is node and isinstance(node, Scalar):
            written = str(node.value)
            if _real(Path(written)) != _real(folder):
                message = f"{folder} is the run folder, because this config lies in it, and not {written}"
                help_ = ("copy the config out of the run folder to start another run with it",)
                place = node.span.place()
                self.problems.append(Problem("moved-run", message, (), place, help_, severity="notice"))
        self.add_overrides([f"{key_name(OUTPUT_DIR)}={json.dumps(escape(str(folder)))}"], RUN_FOLDER)

    def add_overrides(self, arguments: Sequence[str], name: str = COMMAND_LINE) -> None:
        if not arguments:
            return
        source, root, problems = parse_overrides(arguments, name)
        self.sources.append(source)
        self.problems += problems
        if root is None:
            self.complete = False
        else:
            self.roots.append(root)

    def _content(self, name: str, file: Path, chain: tuple[Path, ...], extended_at: Place | None) -> bytes | None:
        """Return the bytes of a file, or None after adding a problem."""
        real, help_ = _real(file), ("remove one of these extends",)
        if real in chain:
            cycle = " -> ".join(path.name for path in (*chain[chain.index(real) :], file))
            problem = Problem("extends-cycle", f"extends forms a cycle: {cycle}", place=extended_at, help=help_)
        elif len(self.sources) + len(chain) > _MOST_FILES:
            message = f"extends reads more than {_MOST_FILES} files"
            problem = Problem("too-many-files", message, place=extended_at, help=("put some files together",))
        else:
            try:
                return _bytes(file)
            except OSError as error:
                message = f"cannot read {name}: {error.strerror or error}"
                problem = Problem("missing-file", message, place=extended_at, help=_nearby(file, chain))
        self.problems.append(problem)
        return None

    def _root(self, source: Source) -> MapNode | None:
        """Return the root of a file, an empty one for an empty file, or None after adding a problem."""
        root, problems = parse(source)
        self.problems += problems
        if root is None and problems:
            return None
        if root is None or (isinstance(root, Scalar) and root.value is None and root.plain):
            root = MapNode(Span(source, 0, 0, 0, 0))
        if isinstance(root, MapNode):
            self.problems += rename_old_keys(root)
            return root
        came = received(value_of(root))
        message = f"a config must be a mapping of sections such as 'model:' and 'training:', not {came}"
        self.problems.append(Problem("not-a-mapping", message, place=root.span.place()))
        return None

    def _extended(self, root: MapNode) -> list[Scalar]:
        """Remove ``extends`` from a file's root and return the paths it names."""
        entry = root.entries.pop("extends", None)
        if entry is None:
            return []
        found: list[Scalar] = []
        for item in entry.node.items if isinstance(entry.node, ListNode) else [entry.node]:
            if isinstance(item, Scalar) and item.broken:
                continue
            if isinstance(item, Scalar) and isinstance(item.value, str) and item.value:
                found.append(expand(item, self.problems))
                continue
            message = f"extends takes a file path or a list of file paths, not {received(value_of(item))}"
            self.problems.append(Problem("wrong-type", message, place=item.span.place()))
        return [item for item in found if isinstance(item.value, str)]


# -------------------------------------------------------------------------------------------------------------- files


def _real(path: Path) -> Path:
    """Return the path without symbolic links; one whose links form a cycle stays as it is."""
    return Path(os.path.realpath(path))


def _bytes(path: Path) -> bytes:
    """Return the content of a regular file, cut off just above the size limit."""
    if not path.exists():
        raise OSError("the file does not exist")
    if not path.is_file():
        raise OSError("it is a folder" if path.is_dir() else "it is not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _packaged_or_same(path: Path, *, beside: Path | None) -> Path:
    """Return the packaged config for a missing ``configs/NAME.yaml``, and any other path as it is.

    So too for a missing base that is named without a folder, ``beside`` the file that extends it: a shipped config
    that was copied elsewhere still finds the one below it.
    """
    shipped = packaged(f"configs/{path.name}")
    named = path.parent == Path("configs") or (beside is not None and _real(path.parent) == beside)
    missing = not os.path.exists(path)  # noqa: PTH110 (pathlib raises for a name that is too long)
    return shipped if named and missing and os.path.isfile(shipped) else path  # noqa: PTH113 (as above)


def _packaged_notice(name: str, file: Path) -> Problem:
    message = f"{name} does not exist here; using the one that comes with dit-run"
    place = Place(name, 1, 1)
    return Problem("packaged-config", message, severity="notice", place=place, help=(f"its path is {file}",))


def _nearby(path: Path, chain: tuple[Path, ...]) -> tuple[str, ...]:
    """Return a line of help with the config files in the folder of a missing one, without those that extend it.

    A folder that has none may hold images.
    """
    if not path.parent.is_dir():
        return ()
    names = sorted(file.name for file in path.parent.glob("*.y*ml") if _real(file) not in chain)
    if path.name == RUN_CONFIG and not names:
        init = shlex.join(["dit-run", "init", str(path.parent), "-o", "mine.yaml"])
        return (f"{path.parent} is not a run folder; if it has images, write a config for them: {init}",)
    listed = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    return did_you_mean(path.name, names) or ((f"config files in {path.parent}: {listed}",) if names else ())
