"""Fixtures for tests through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import CONFIG, Command, Result, Run, Train

from dit_run.cli.main import main


@pytest.fixture(autouse=True, scope="session")
def _quiet_diffusers() -> Iterator[None]:
    """The handler of diffusers keeps the stream of the test that imported it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSERS_VERBOSITY", "error")
        yield


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    return run


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny config, in a working directory of its own, where its run folder is ``run``."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def train(command: Command, config: Path) -> Train:
    """Trains the tiny config under overrides to its end; the run folder."""

    def trained(*overrides: str, output: str = "run") -> Run:
        result = command(config, f"training.output_dir={output}", *overrides)
        assert result.status == 0, result.words
        return Run(Path(output).absolute())

    return trained
