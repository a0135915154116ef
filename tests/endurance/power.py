"""Power loss, simulated: what the disk may hold when only synced changes are sure to be there.

The watched folder itself is there from the beginning. In it is a tree of numbered folders and files. A change of a name
(create, mkdir, rename, unlink) is sure once one of its folders was synced after it; a change of a file's bytes once
that file was. A loss at any moment may leave out all changes that are not sure, or any one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["Call", "images", "read_log"]


@dataclass(frozen=True)
class Call:
    """One system call of the shim's log; paths are relative to the watched folder."""

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
    files: dict[int, bytes] = field(default_factory=dict)

    def find(self, path: PurePosixPath) -> int | None:
        number: int | None = 0
        for part in path.parts:
            number = self.folders.get(number, {}).get(part) if number is not None else None
        return number

    def copy(self) -> Tree:
        return Tree({number: dict(names) for number, names in self.folders.items()}, dict(self.files))

    def content(self, number: int = 0, path: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Every path that can be reached, with its bytes; None for a folder."""
        for name, child in sorted(self.folders[number].items()):
            if child in self.folders:
                yield f"{path}{name}", None
                yield from self.content(child, f"{path}{name}/")
            else:
                yield f"{path}{name}", self.files.get(child, b"")


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
        names = tree.folders.setdefault(self.folder, {})
        match self.kind:
            case "write" | "truncate":
                tree.files[self.number] = self._rewritten(tree.files.get(self.number, b""))
            case "rename":
                if self.name in names:
                    tree.folders.setdefault(self.to_folder, {})[self.to_name] = names.pop(self.name)
            case "unlink":
                names.pop(self.name, None)
            case "mkdir":
                names[self.name] = self.number
                tree.folders.setdefault(self.number, {})
            case "create":
                names[self.name] = self.number
                tree.files.setdefault(self.number, b"")

    def _rewritten(self, content: bytes) -> bytes:
        before = content[: self.offset].ljust(self.offset, b"\0")
        return before if self.kind == "truncate" else before + self.data + content[self.offset + len(self.data) :]


def images(calls: list[Call]) -> Iterator[tuple[int, str, Tree]]:
    """What the disk may hold after each call: (calls done, what was lost, tree)."""
    running, sure, pending = Tree(), Tree(), list[tuple[Change, bool]]()
    for done, call in enumerate(calls, start=1):
        if call.name == "mkdir" and not call.path.parts:
            continue
        if call.name == "fsync":
            synced = running.find(call.path)
            pending = [(change, known or change.sure_by(synced or 0)) for change, known in pending]
        elif call.name != "failed":
            change = _change(call, running)
            change.apply(running)
            pending.append((change, False))
        while pending and pending[0][1]:
            pending.pop(0)[0].apply(sure)
        yield done, "all", _after(sure, [change for change, known in pending if known])
        for place, (lost, known) in enumerate(pending):
            if not known:
                rest = [change for change, _ in pending if change is not lost]
                yield done, f"{lost.kind} {place}", _after(sure, rest)


def _after(sure: Tree, changes: list[Change]) -> Tree:
    tree = sure.copy()
    for change in changes:
        change.apply(tree)
    return tree


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
