"""Commands of several processes, one after another in the same processes, which start only once."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from runs import Result

__all__ = ["launched"]


def launched(folder: Path, count: int, commands: Sequence[Sequence[object]], *, seconds: float = 300) -> list[Result]:
    """What the first process answered to each command; all of them run in ``folder``."""
    path = folder / "commands.json"
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("localhost", 0))).getsockname()[1] for _ in commands]
    path.write_text(json.dumps([[port, *map(str, words)] for port, words in zip(ports, commands, strict=True)]))
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "localhost"}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(_killed_at_the_end([__file__, path], {**shared, "RANK": str(n), "LOCAL_RANK": str(n)}))
            for n in range(count)
        ]
        out, _ = processes[0].communicate(timeout=seconds)
        for process in processes[1:]:
            process.communicate(timeout=seconds)
    return [Result(*json.loads(line)) for line in out.splitlines()]


@contextlib.contextmanager
def _killed_at_the_end(words: Sequence[object], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _answer(path: Path) -> None:
    from dit_run.cli.main import main

    os.chdir(path.parent)
    for port, *words in json.loads(path.read_text()):
        os.environ["MASTER_PORT"] = str(port)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
        print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]))
