"""Plugins in packages, built and installed as their users do: the examples, and one that is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from environments import ROOT, Environment, build_wheels

pytest.importorskip("hatchling", reason="wheels are built with hatchling; install dit-run[test]")
pytestmark = pytest.mark.slow

EXAMPLES = sorted(path.parent for path in (ROOT / "examples" / "plugins").glob("*/pyproject.toml"))

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "dit-run-broken"
version = "1.2.3"

[project.entry-points.dit_run]
broken = "dit_run_broken.plugin"
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """dit-run and all examples from their wheels."""
    folder = tmp_path_factory.mktemp("environment")
    environment = Environment.make(folder / "venv")
    environment.install(*build_wheels(folder / "wheels", ROOT, *EXAMPLES))
    return environment


def test_every_example_passes_its_own_tests(environment: Environment, tmp_path: Path) -> None:
    """In one process, as most of the time of each would go into the imports of torch."""
    words = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-rA")
    tests = [example / "tests" for example in EXAMPLES]
    said = environment.run("python", "-m", "pytest", *words, *tests, cwd=tmp_path)
    for example in EXAMPLES:
        assert re.search(rf"^PASSED \S*{example.name}/tests/", said, re.MULTILINE), said


def test_all_examples_are_listed_together(environment: Environment, tmp_path: Path) -> None:
    lines = environment.run("dit-run", "plugins", cwd=tmp_path).splitlines()
    names = [line.split()[0] for line in lines if "installed" in line]
    assert names == ["csv_dataset", "csv_tracker", "lion", "sentence_encoder"]
    assert all(line.endswith("ok") for line in lines if "installed" in line)


def test_a_broken_package_is_reported_and_stops_nothing_else(environment: Environment, tmp_path: Path) -> None:
    source = tmp_path / "dit-run-broken"
    (source / "dit_run_broken").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "dit_run_broken" / "__init__.py").write_text("")
    (source / "dit_run_broken" / "plugin.py").write_text("from dit_run import hookimpls\n")
    environment.install(*build_wheels(tmp_path / "wheels", source))
    said = environment.run("dit-run", "plugins", "-v", cwd=tmp_path)
    message = (
        "plugin broken (dit-run-broken 1.2.3) did not load: its module cannot be imported: ImportError: "
        f"cannot import name 'hookimpls' from 'dit_run' ({environment.site / 'dit_run' / '__init__.py'})"
    )
    assert message in said.splitlines()
    assert "        from dit_run import hookimpls" in said.splitlines()
    config = tmp_path / "config.yaml"
    config.write_text("optimizer: {type: broken}")
    assert message.removeprefix("plugin ") in environment.run("dit-run", "validate", config, cwd=tmp_path, status=2)
    config.write_text("optimizer: {type: adamw}")
    assert environment.run("dit-run", "validate", config, cwd=tmp_path) == f"{config}: valid\n"
    dropped = environment.run("dit-run", "plugins", cwd=tmp_path, DIT_RUN_DISABLE_PLUGINS="1")
    assert "broken" not in dropped
