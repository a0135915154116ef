"""A shell whose commands are typed as a page shows them: ``dit-run`` and ``torchrun`` are forks of a warm process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from forks import Ended, Forks

__all__ = ["Shell"]

_STAND_IN = f"""#!{sys.executable} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked, asked.makefile("rw") as line:
    asked.connect(os.environ["DIT_RUN_FORKS"])
    typed = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
    print(json.dumps(typed), file=line, flush=True)
    status, output = json.loads(line.readline())
sys.stdout.write(output)
sys.exit(status)
"""
_LIMIT = 300
"""Seconds after which a command has failed."""


class Shell:
    """bash, in which ``dit-run`` asks the warm process for a fork."""

    def __init__(self, forks: Forks, folder: Path, adapted: Callable[[list[str]], list[str]]) -> None:
        """Write the stand-ins into ``folder``; ``adapted`` returns the words that dit-run gets for those of a page."""
        self._forks, self._adapted = forks, adapted
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("dit-run", "torchrun"):
            (self.programs / name).write_text(_STAND_IN)
            (self.programs / name).chmod(0o755)
        self._desk = socketserver.UnixStreamServer(str(folder / "desk"), self._handler())
        self._thread = threading.Thread(target=self._desk.serve_forever)
        path = os.pathsep.join((str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]))
        self._variables = {"DIT_RUN_FORKS": str(folder / "desk"), "PATH": path}

    def __enter__(self) -> Shell:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._desk.shutdown()
        self._thread.join()
        self._desk.server_close()

    def run(self, command: str, folder: Path, **variables: str) -> Ended:
        """Type a command in a folder, and wait for its end."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env={**os.environ, **self._variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT,
        )
        return Ended((done.returncode,), done.stdout)

    def execute(self, program: str, folder: Path, **variables: str) -> Ended:
        """Run a program in Python in a folder."""
        return self._forks.execute(folder, {**os.environ, **variables}, program)

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        answer = self._answer

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                program, words, folder, variables = json.loads(self.rfile.readline())
                ended = answer(program, words, Path(folder), variables)
                self.wfile.write(json.dumps([max(map(abs, ended.statuses)), ended.output]).encode())

        return Handler

    def _answer(self, program: str, words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Ended:
        if program == "torchrun":
            given = words[words.index("dit_run") + 1 :]
            return self._forks.run_at(folder, variables, *self._adapted([*given]), processes=2)
        if words[0] == "view":
            return _served(words, folder, variables)
        return self._forks.run_at(folder, variables, *self._adapted([*words]))


def _served(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Ended:
    """Open a page until it says its address, and leave it with Ctrl-C."""
    command = [sys.executable, "-m", "dit_run", *words]
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as page:
        assert page.stdout is not None
        said = page.stdout.readline()
        opened = said.startswith("runs: http://127.0.0.1:")
        rest = _interrupted(page) if opened else ""
        page.kill()
    return Ended((0 if opened and page.returncode in (0, 130) else 1,), said + rest)


def _interrupted(page: subprocess.Popen[str]) -> str:
    """Press Ctrl-C until the page ends, as the first one may come before it is asked for; return what it said."""
    for _ in range(_LIMIT):
        page.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return page.communicate(timeout=1)[0]
    return ""
