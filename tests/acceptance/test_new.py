"""``dit-run new``: what it writes works as it stands."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from runs import Command

from dit_run import load_config
from dit_run.cli.new import package, single_file
from dit_run.registry.components import Kind
from dit_run.registry.registry import discover

KINDS = [pytest.param(kind, id=kind) for kind in Kind]


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_what_it_wrote_and_what_comes_next(command: Command, here: Path) -> None:
    result = command("new", "optimizer", "tiger")
    assert result.out == (
        "wrote tiger.py\n"
        "wrote test_tiger.py\n"
        "wrote tiger.yaml\n"
        "next:\n"
        "  python -m pytest test_tiger.py\n"
        "  dit-run tiger.yaml\n"
        "  dit-run schema tiger.yaml -o dit-run.schema.json\n"
    )
    assert sorted(path.name for path in here.iterdir()) == ["test_tiger.py", "tiger.py", "tiger.yaml"]


def test_a_package_has_a_folder_a_distribution_an_entry_point_and_a_type(command: Command, here: Path) -> None:
    result = command("new", "optimizer", "big_cat", "--package", "--output", "plugins")
    assert result.out.splitlines()[-4:] == [
        "  pip install -e plugins/dit-run-big-cat",
        "  python -m pytest plugins/dit-run-big-cat/tests",
        "  dit-run plugins/dit-run-big-cat/big_cat.yaml",
        "  dit-run schema plugins/dit-run-big-cat/big_cat.yaml -o plugins/dit-run-big-cat/dit-run.schema.json",
    ]
    folder = here / "plugins" / "dit-run-big-cat"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "dit-run-big-cat"
    assert project["entry-points"]["dit_run"] == {"big_cat": "dit_run_big_cat.plugin"}
    text = (folder / "src" / "dit_run_big_cat" / "plugin.py").read_text()
    assert 'Component(Kind.OPTIMIZER, "big_cat", BigCat, build)' in text
    assert "example" not in text.lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("optimiser", "tiger"),
            "there is no kind 'optimiser'; the kinds are dataset, text_encoder, vae, model, scheduler, optimizer, "
            "lr_scheduler, objective, guidance, average, adapter, tracker, metric, callback",
        ),
        (
            ("optimizer", "Tiger"),
            "'Tiger' is not a valid name of a type; use lower-case letters, digits and underscores",
        ),
        (
            ("optimizer", "adamw"),
            "optimizer.adamw exists already (dit-run plugins show optimizer.adamw); choose another name",
        ),
    ],
)
def test_names_that_are_refused(command: Command, here: Path, words: tuple[str, str], message: str) -> None:
    result = command("new", *words)
    assert (result.status, result.err) == (2, f"error: {message}\n")
    assert list(here.iterdir()) == []


def test_nothing_is_overwritten(command: Command, here: Path) -> None:
    (here / "tiger.yaml").write_text("mine")
    result = command("new", "optimizer", "tiger")
    assert (result.status, result.err) == (
        2,
        "error: tiger.yaml exists already; choose another name, or another folder with --output DIR\n",
    )
    assert [path.name for path in here.iterdir()] == ["tiger.yaml"]


def test_a_file_that_would_hide_a_module_is_refused(command: Command, here: Path) -> None:
    result = command("new", "optimizer", "token")
    assert result.status == 2
    assert "cannot be imported as 'token': that already means the module" in result.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_config_of_each_kind_is_valid(kind: Kind, tmp_path: Path) -> None:
    write(tmp_path, single_file(kind, f"my_{kind}_plugin"))
    config = load_config(tmp_path / f"my_{kind}_plugin.yaml", registry=discover(third_party=False))
    assert f"my_{kind}_plugin" in [choice.type for _, choice in config.choices()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_holds_what_a_single_file_does(kind: Kind) -> None:
    text = single_file(kind, "tiger")["tiger.py"]
    assert package(kind, "tiger")["dit-run-tiger/src/dit_run_tiger/plugin.py"] == text


@pytest.mark.slow
def test_what_is_written_passes_its_own_test(tmp_path: Path) -> None:
    for kind in Kind:
        write(tmp_path, single_file(kind, f"my_{kind}"))
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith(f"{3 * len(Kind)} passed"), done.stdout
