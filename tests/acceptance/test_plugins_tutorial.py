"""The plugin tutorial: every command in order, with every file of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from environments import ROOT, Environment, build_wheels
from pages import blocks

from dit_run.registry.components import Kind

TUTORIAL = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = blocks(TUTORIAL)


def lines_of(file: str) -> int:
    """Return the number of lines of a file of the tutorial that are not empty."""
    (text,) = [block.text for block in BLOCKS if block.name == file]
    return sum(bool(line.strip()) for line in text.splitlines())


def test_the_optimizer_has_at_most_25_lines() -> None:
    assert lines_of("dit-run-lion/src/dit_run_lion/plugin.py") <= 25


def test_the_dataset_has_at_most_40_lines() -> None:
    assert lines_of("named_images.py") <= 40


def test_the_table_of_kinds_is_complete() -> None:
    rows = re.findall(
        r"^\| \[?`(\w+)`(?:\]\(plugins/\1\.md\))? \|(.*?)\| .*? \| `(check_\w+)` \|$", TUTORIAL, re.MULTILINE
    )
    keywords = {Kind(kind): tuple(re.findall(r"`(\w+)`", words)) for kind, words, _ in rows}
    assert keywords == {kind: kind.spec.runtime for kind in Kind}
    assert [check for _, _, check in rows] == [f"check_{kind}" for kind in Kind]


@pytest.mark.slow
def test_every_command_works_in_order(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="wheels are built with hatchling; install dit-run[test]")
    environment = Environment.make(tmp_path / "venv")
    environment.install(*build_wheels(tmp_path / "wheels", ROOT))
    here = tmp_path / "here"
    here.mkdir()
    said = ""
    for block in BLOCKS:
        if block.name:
            (here / block.name).write_text(block.text)
        said += "".join(environment.run("bash", "-c", command, cwd=here) for command in block.commands)
    assert "finished after 20 steps" in said
    assert '"keep"' in (here / "dit-run-lion" / "dit-run.schema.json").read_text()
    assert (here / "outputs" / "lion" / "checkpoints" / "step-00000020").is_dir()
    assert (here / "outputs" / "named_images" / "plugins" / "named_images.py").is_file()


@pytest.mark.slow
def test_the_fault_that_it_shows_is_what_is_said(tmp_path: Path) -> None:
    (source,) = [block.text for block in BLOCKS if block.name.endswith("dit_run_lion/plugin.py")]
    (shown,) = [block.text for block in BLOCKS if block.language == "text"]
    broken = source.replace("self.state[p].setdefault(", "self.__dict__.setdefault(p, {}).setdefault(")
    path = tmp_path / "lion_of_the_tutorial.py"
    path.write_text(broken)
    from dit_run.testing import ContractError, check_optimizer

    with pytest.raises(ContractError) as caught:
        check_optimizer(path)
    assert " ".join(shown.split()) == str(caught.value)
