"""A call in another process: objects that a worker process receives must work there."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dit_run.registry.plugin_files import PluginFiles

__all__ = ["OtherProcess", "elsewhere"]

_CHILD = """
import pickle, sys
folder = sys.argv[1]
with open(folder + "/question", "rb") as file:
    sys.path[:] = pickle.load(file)
    files, function, arguments = pickle.load(file)
answer = pickle.dumps(function(*arguments))
with open(folder + "/answer", "wb") as file:
    file.write(answer)
"""


class OtherProcess(Exception):
    """A failure in the other process, in one line."""


def elsewhere(function: Callable[..., Any], *arguments: Any, files: PluginFiles = PluginFiles()) -> Any:  # noqa: B008 (frozen)
    """Return ``function(*arguments)`` from a new process, which gets them as a spawned worker process does.

    Raises OtherProcess if something cannot be pickled, or fails there.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            question = pickle.dumps(sys.path) + pickle.dumps((files, function, arguments))
        except Exception as error:
            raise OtherProcess(f"{type(error).__name__}: {error}") from error
        Path(folder, "question").write_bytes(question)
        command = [sys.executable, "-c", _CHILD, folder]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise OtherProcess(lines[-1] if lines else f"exit status {done.returncode}")
        return pickle.loads(Path(folder, "answer").read_bytes())
