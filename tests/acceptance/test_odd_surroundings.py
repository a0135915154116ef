"""Odd surroundings: closed streams, modules in the working directory, narrow limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runs import Command, Run, Train


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, in which ``$dit_run`` is the command."""
    starting = f'dit_run="{Path(sys.executable).parent / "dit-run"}"; {line}'
    return subprocess.run(["bash", "-c", starting], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
def test_a_run_does_not_need_its_output(config: Path, closed: str) -> None:
    ended = shell(f"$dit_run tiny.yaml {closed}", config.parent)
    assert ended.stderr == "note: cannot write the output (Bad file descriptor); continuing without it\n"
    assert ended.returncode == 0
    run = Run(config.parent / "run")
    assert run.status["state"] == "finished"
    assert [line["step"] for line in run.metrics] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_run_does_not_need_any_stream(config: Path) -> None:
    assert shell("$dit_run tiny.yaml <&- >&- 2>&-", config.parent).returncode == 0
    assert Run(config.parent / "run").status["state"] == "finished"


@pytest.mark.slow
def test_a_command_whose_result_is_printed_needs_its_output(config: Path) -> None:
    ended = shell("$dit_run explain tiny.yaml >&-", config.parent)
    assert (ended.returncode, ended.stderr) == (1, "error: cannot write the output: Bad file descriptor\n")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["$dit_run", f"{sys.executable} -m dit_run"])
def test_modules_in_the_working_directory_replace_none_of_pythons(config: Path, start: str) -> None:
    for name in ("random", "queue", "torch", "numpy", "tempfile", "signal"):
        (config.parent / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    ended = shell(f"{start} tiny.yaml training.num_workers=1 training.max_steps=2", config.parent)
    assert ended.returncode == 0, ended.stderr
    assert len(Run(config.parent / "run").metrics) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("ulimit -n 9", "error: no worker can be started: this process may open only 9 files at a time; raise"),
        (f"export TMPDIR=/tmp/{'x' * 90}; mkdir -p $TMPDIR", "folder for temporary files is too long; set TMPDIR to a"),
    ],
    ids=["files", "long path"],
)
def test_a_limit_that_no_worker_fits_is_named(config: Path, limit: str, told: str) -> None:
    ended = shell(f"{limit}; $dit_run tiny.yaml training.num_workers=1", config.parent)
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 1


@pytest.mark.slow
def test_few_open_files_are_enough_for_any_number_of_batches(config: Path) -> None:
    words = "training.num_workers=2 training.prefetch_factor=64 training.gradient_accumulation_steps=16"
    ended = shell(f"ulimit -n 64; $dit_run tiny.yaml {words} training.max_steps=2", config.parent)
    assert ended.returncode == 0, ended.stderr


def test_a_prompt_that_is_not_utf8_is_refused(config: Path, train: Train, command: Command) -> None:
    train("training.max_steps=1", "training.use_ema=false")
    said = command("sample", "run", "caf\udce9")
    assert said.status == 2
    assert "the prompt 'caf\\udce9' is not UTF-8 text (character 4)" in said.words
    Path("prompts.txt").write_bytes(b"a dog\ncaf\xe9\n")
    said = command("sample", "run", "--prompts", "prompts.txt")
    assert said.status == 2
    assert "prompts.txt" in said.words and "UTF-8" in said.words


@pytest.mark.parametrize("words", [("validate",), ("train",), ("check",)])
def test_a_missing_compiler_is_reported_before_training(
    config: Path, command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    said = command(*words, config, "training.compile_model=true", "training.device=cpu")
    assert said.status == 2
    assert said.err.startswith(
        "error[no-compiler]: training.compile_model needs a compiler, and this machine has no C++ compiler: g++, which "
        "is not found\n"
    )
    assert "= help: install one (Debian, Ubuntu: apt-get install g++), or set compile_model: false" in said.err
    assert len(said.err.splitlines()) < 10
    assert not Path("run").exists()
    assert command("explain", config, "training.compile_model=true").status == 0
