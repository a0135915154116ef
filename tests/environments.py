"""An environment of its own: dit-run from its wheel, everything else from the environment that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["ROOT", "Environment", "build_wheels"]

ROOT = Path(__file__).resolve().parent.parent
_NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "HF_HUB_OFFLINE": "1"}
"""The third turns isolation off: the build backend is taken from the environment that runs the tests."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and commands in it."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *, pip: bool = True) -> Environment:
        """With pip, or without; what it lacks is found in the environment of the tests, editable installs aside."""
        venv.create(folder, with_pip=pip)
        environment = cls(folder)
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(pytest.__file__).parents[1])}
        (environment.site / "outer.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
        return environment

    @property
    def site(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, *command: object, cwd: Path, status: int = 0, **variables: str) -> str:
        """What a command of this environment says, output and errors; it ends with ``status``."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        settings = {**os.environ, **_NO_NETWORK, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **variables}
        settings.pop("PYTHONPATH", None)
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=cwd, env=settings, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == status, f"{' '.join(words)}: exit status {done.returncode}\n{said}"
        return said

    def install(self, *wheels: Path) -> None:
        self.run("python", "-m", "pip", "install", "-q", "--force-reinstall", *wheels, cwd=self.folder)


def build_wheels(folder: Path, *sources: Path) -> list[Path]:
    """Build the wheels of projects in an empty folder, with the backend of the environment that runs the tests."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, *sources]
    subprocess.run([str(word) for word in command], check=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    return sorted(folder.glob("*.whl"))
