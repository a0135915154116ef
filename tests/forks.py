"""The command line in processes of its own: forks of a warm one, in which everything is imported once."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Ended", "Forks"]

_LIMIT = 300
"""Seconds after which a process is killed."""


@dataclass(frozen=True)
class Ended:
    """How processes ended."""

    statuses: tuple[int, ...]
    """Exit status of each, or minus the signal, by rank."""
    output: str
    """All that they said."""


class Forks:
    """The warm process, which answers one request at a time."""

    def __init__(self, *modules: str) -> None:
        """Import these modules too, each of which would cost every fork that uses it."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    def run(self, *words: object, processes: int = 1) -> Ended:
        """Run ``dit-run WORDS`` to its end in this directory and environment, on processes such as torchrun starts."""
        return self.run_at(Path.cwd(), os.environ, *words, processes=processes)

    def run_at(self, folder: Path, variables: Mapping[str, str], *words: object, processes: int = 1) -> Ended:
        """Run ``dit-run WORDS`` in another directory and environment."""
        return self._ask(folder, variables, words=[*map(str, words)], processes=processes)

    def execute(self, folder: Path, variables: Mapping[str, str], program: str) -> Ended:
        """Run a program in Python in a directory and environment."""
        return self._ask(folder, variables, program=program, processes=1)

    def _ask(self, folder: Path, variables: Mapping[str, str], **asked: object) -> Ended:
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"words": [], "program": None, "at": str(folder), "set": dict(variables), **asked}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        statuses, output = json.loads(self._process.stdout.readline())
        return Ended(tuple(statuses), output)


def _serve() -> None:
    from endurance.warm import import_all

    for module in sys.argv[1:]:
        importlib.import_module(module)
    import_all()
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


def _run(request: dict[str, Any]) -> tuple[list[int], str]:
    from endurance.launching import launches, wait_for_all

    with tempfile.TemporaryFile() as output:
        ranks = [_fork(request, launch, output.fileno()) for launch in launches(int(request["processes"]))]
        statuses = wait_for_all(ranks)
        output.seek(0)
        return statuses, output.read().decode(errors="replace")


def _fork(request: dict[str, Any], launched: dict[str, str], output: int) -> int:
    child = os.fork()
    if child:
        return child
    from dit_run.cli.main import entry

    signal.alarm(_LIMIT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(request["set"], **launched)
    os.chdir(request["at"])
    if request["program"] is None:
        sys.argv[1:] = request["words"]
        entry()
    exec(compile(request["program"], "program", "exec"), {"__name__": "__main__"})
    sys.exit()


if __name__ == "__main__":
    _serve()
