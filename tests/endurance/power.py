"""Power loss, simulated: what the disk may hold when only synced changes are sure to be there.

The file system is a tree of numbered folders and files. A change of a name (create, mkdir, rename, unlink) is sure once
one of its folders was synced after it; a change of a file's bytes once that file was. A loss at any moment may leave
out all changes that are not sure, or any one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["Call", "images", "materialise", "read_log"]


@dataclass(frozen=True)
class Call:
    """One system call of the shim's log; paths are relative to the watched folder's parent."""

    name: str
    path: PurePosixPath
    other: PurePosixPath
    offset: int
    data: bytes


def read_log(log: Path, root: Path) -> list[Call]:
    """All calls under ``root``, one for each point."""
    raw, calls, place = log.read_bytes(), [], 0
    while place < len(raw):
        end = raw.index(b"\n", place)
        name, path, other, offset, length = raw[place:end].split(b"\0")
        place = end + 1 + int(length)
        paths = [PurePosixPath(each.decode()) for each in (path, other)]
        first, second = (each.relative_to(root) if each.is_absolute() else each for each in paths)
        calls.append(Call(name.decode(), first, second, int(offset), raw[end + 1 : place]))
    return calls


@dataclass
class Tree:
    """Folders (name to number) and files (bytes) by number; folder 0 is the top."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)

    def find(self, path: PurePosixPath) -> int | None:
        number: int | None = 0
        for part in path.parts:
            number = self.folders.get(number, {}).get(part) if number is not None else None
        return number


@dataclass(frozen=True)
class Change:
    """One change with everything in numbers, so that leaving out another one before it does not confuse it."""

    kind: str
    folder: int = 0
    name: str = ""
    number: int = 0
    to_folder: int = 0
    to_name: str = ""
    offset: int = 0
    data: bytes = b""

    def sure_by(self, synced: int) -> bool:
        """Whether syncing that folder or file makes it sure."""
        if self.kind in ("write", "truncate"):
            return synced == self.number
        return synced in (self.folder, self.to_folder) if self.kind == "rename" else synced == self.folder

    def apply(self, tree: Tree) -> None:
        if self.kind in ("write", "truncate"):
            _rewrite(tree.files.setdefault(self.number, bytearray()), self)
            return
        names = tree.folders.setdefault(self.folder, {})
        if self.kind == "rename":
            if self.name in names:
                tree.folders.setdefault(self.to_folder, {})[self.to_name] = names.pop(self.name)
        elif self.kind == "unlink":
            names.pop(self.name, None)
        else:
            names[self.name] = self.number
            (tree.folders if self.kind == "mkdir" else tree.files).setdefault(self.number, _empty(self.kind))  # type: ignore[attr-defined]


def _empty(kind: str) -> dict[str, int] | bytearray:
    return {} if kind == "mkdir" else bytearray()


def _rewrite(content: bytearray, change: Change) -> None:
    if change.kind == "truncate":
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
    else:
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(change.data)] = change.data


def images(calls: list[Call]) -> Iterator[tuple[int, str, Tree]]:
    """What the disk may hold after each call: (calls done, what was lost, tree)."""
    running, changes, sure = Tree(), list[Change](), list[bool]()
    for done, call in enumerate(calls, start=1):
        if call.name == "fsync":
            synced = running.find(call.path)
            sure = [known or change.sure_by(synced or 0) for known, change in zip(sure, changes, strict=True)]
        elif call.name != "failed":
            change = _change(call, running)
            change.apply(running)
            changes.append(change)
            sure.append(False)
        unsure = [index for index, known in enumerate(sure) if not known]
        yield done, "all", _tree(changes, set(unsure))
        for index in unsure:
            lost = changes[index]
            yield done, f"{lost.kind} {lost.name or lost.number}", _tree(changes, {index})


def _change(call: Call, tree: Tree) -> Change:
    folder, number = tree.find(call.path.parent), tree.find(call.path)
    assert folder is not None, call
    match call.name:
        case "create" | "mkdir":
            new = max([*tree.folders, *tree.files]) + 1
            return Change(call.name, folder, call.path.name, new)
        case "rename":
            to_folder = tree.find(call.other.parent)
            assert to_folder is not None, call
            return Change("rename", folder, call.path.name, 0, to_folder, call.other.name)
        case "unlink":
            return Change("unlink", folder, call.path.name)
    assert number is not None, call
    return Change(call.name, number=number, offset=call.offset, data=call.data)


def _tree(changes: list[Change], lost: set[int]) -> Tree:
    tree = Tree()
    for index, change in enumerate(changes):
        if index not in lost:
            change.apply(tree)
    return tree


def materialise(tree: Tree, folder: Path, number: int = 0) -> None:
    """Write a tree into an empty folder."""
    for name, child in tree.folders[number].items():
        if child in tree.folders:
            (folder / name).mkdir()
            materialise(tree, folder / name, child)
        else:
            (folder / name).write_bytes(bytes(tree.files.get(child, b"")))
