"""docs/plugins/KIND.md: the whole plugin of each page keeps its contract, and its config trains two steps with it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import PAGES, Block, blocks

from dit_run import Kind
from dit_run.testing.plugin_imports import forgotten
from dit_run.testing.tiny_run import TinyRun, run_tiny

KINDS = [kind for kind in Kind if f"docs/plugins/{kind}.md" in PAGES]
each_kind = pytest.mark.parametrize("kind", KINDS)


def text_of(kind: Kind) -> str:
    return PAGES[f"docs/plugins/{kind}.md"].read_text(encoding="utf-8")


def files_of(kind: Kind) -> list[Block]:
    """Return the plugin, the config and the test of a page."""
    return [block for block in blocks(text_of(kind)) if block.name]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that gives the folder of a trained run, which it trains once."""
    runs: list[TinyRun] = []

    def trained() -> Path:
        if not runs:
            runs.append(run_tiny(tmp_path_factory.mktemp("base")))
        return runs[0].run_dir

    return trained


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_a_page_for_each_kind() -> None:
    assert list(Kind) == KINDS


@each_kind
def test_a_page_has_the_keywords_and_members_of_its_kind(kind: Kind) -> None:
    names = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text_of(kind)))))
    assert {*kind.spec.runtime, *kind.spec.members, kind.section} - names <= {"__len__", "__getitem__", "__call__"}


@each_kind
def test_a_plugin_of_at_most_40_lines_with_its_config_and_test(kind: Kind) -> None:
    plugin, config, test = files_of(kind)
    name = plugin.name.removesuffix(".py")
    assert (config.name, test.name) == (f"{name}.yaml", f"test_{name}.py")
    assert sum(bool(line.strip()) for line in plugin.text.splitlines()) <= 40


@pytest.mark.slow
@each_kind
def test_its_contract_test_passes_and_its_config_trains(kind: Kind, here: Path, base: Callable[[], Path]) -> None:
    plugin, config, test = files_of(kind)
    for block in (plugin, config, test):
        (here / block.name).write_text(block.text)
    if "init_from" in config.text:
        (here / "runs").mkdir()
        (here / "runs" / "base").symlink_to(base())
    with forgotten(here):
        for name, function in runpy.run_path(test.name).items():
            if name.startswith("test_"):
                function()
        run = run_tiny(here / "tiny", config.text, {plugin.name: plugin.text})
    assert run.errors == ()
    assert [line["step"] for line in run.metrics if "loss" in line] == [1, 2]
