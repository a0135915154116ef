"""Fixtures for tests through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from builders import hub_repository
from forks import Forks
from runs import CONFIG, AllStages, Command, Repository, Result, Run, Train, stopping

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


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs command lines in processes of their own."""
    with Forks() as forks:
        yield forks


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


@pytest.fixture(scope="session")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the tiny config that a signal stopped after 4 of 6 steps; to be left as it is."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.yaml").write_text(CONFIG)
        assert main(["tiny.yaml", *stopping(4)]) == 143
    return folder / "run"


@pytest.fixture
def unfinished(stopped_run: Path, config: Path) -> Run:
    """A copy of the stopped run, which the tiny config continues."""
    return Run(Path(shutil.copytree(stopped_run, "run")).absolute())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A hub's cache of the test's own, as a function from the name of a repository to the folder of its files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return partial(hub_repository, tmp_path / "hub")


@pytest.fixture
def all_stages(train: Train, command: Command, config: Path, tmp_path: Path) -> AllStages:
    """Trains 20 steps from a cache, and to the same bytes without one and in two parts; then makes an image."""
    always = ("training.max_steps=20", "training.save_steps=10", "validation.every_n_steps=null", "cache.dir=cache")

    def run(*overrides: str, cached: str) -> None:
        given = (*always, *overrides)
        whole = train(*given, output="whole")
        assert list((tmp_path / "cache" / cached).glob("*/*.safetensors"))
        assert train(*given, "cache.mode=off", output="uncached").learnt() == whole.learnt()
        half = train(*given, "training.max_steps=10", output="half")
        assert command(config, *given, "training.output_dir=half").status == 0
        assert Run(half.path).learnt() == whole.learnt()
        made = command("sample", "whole", "a red circle", "--negative-prompt", "a blue square", "--output", "new.png")
        assert made.status == 0, made.words
        assert (tmp_path / "new.png").stat().st_size > 0

    return run
