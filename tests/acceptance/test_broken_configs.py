"""Hand-written broken configs: the whole diagnostic of each, and its place.

Each ``broken/NN-name.yaml`` begins with the places of its problems, written by hand, and may name arguments. Beside it
``NN-name.txt`` is all that ``dit-run validate`` prints of it. After a change of words: UPDATE_DIAGNOSTICS=1, and read
the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dit_run.cli.problem_rendering import as_text
from dit_run.config.resolve import load_config
from dit_run.problems import ConfigError
from dit_run.registry.registry import discover

FOLDER = Path(__file__).parent / "broken"
BROKEN = sorted(path.stem for path in FOLDER.glob("[0-9]*.yaml"))


def problems_of(name: str) -> tuple[ConfigError, list[str]]:
    """What is wrong with a config, and the places that its first line says."""
    lines = (FOLDER / f"{name}.yaml").read_bytes().decode("utf-8", "replace").splitlines()
    places = lines[0].removeprefix("# places:").split()
    arguments = lines[1].removeprefix("# arguments:").split() if lines[1].startswith("# arguments:") else []
    with pytest.raises(ConfigError) as caught:
        load_config(f"{name}.yaml", *arguments, registry=discover(third_party=False))
    return caught.value, [_full(place, name) for place in places]


def _full(place: str, name: str) -> str:
    return place.replace("_", " ") if place.count(":") == 2 else f"{name}.yaml:{place}"


@pytest.fixture(autouse=True)
def in_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    monkeypatch.delenv("DIT_RUN_TEST_UNSET", raising=False)


@pytest.mark.parametrize("name", BROKEN)
def test_the_whole_diagnostic(name: str) -> None:
    text = "\n".join(as_text(problem) for problem in problems_of(name)[0].problems)
    expected = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_DIAGNOSTICS"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("name", BROKEN)
def test_each_problem_is_at_the_place_that_was_written_by_hand(name: str) -> None:
    error, places = problems_of(name)
    assert [str(problem.place) for problem in error.problems] == places


def test_there_are_enough() -> None:
    assert len(BROKEN) >= 40
