"""What starting the program imports, as Python itself reports it."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from runs import CONFIG

HEAVY = {"torch", "transformers", "diffusers", "numpy", "PIL"}
ROOT = Path(__file__).resolve().parent.parent.parent
CORE, PLUGINS = ROOT / "framework" / "dit_run", ROOT / "plugins" / "dit_run_plugins"


def imported(words: Sequence[str]) -> set[str]:
    """Top-level names of all modules that a command line of Python imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("-c", "import dit_run"),
        ("-c", "import dit_run; dir(dit_run); dit_run.load_config"),
        ("-c", "from dit_run import Component, ConfigError, train"),
        ("-m", "dit_run", "--help"),
        ("-m", "dit_run", "--version"),
        ("-m", "dit_run", "train", "--help"),
        ("-m", "dit_run", "sample", "--help"),
        ("-m", "dit_run", "view", "--help"),
        ("-m", "dit_run", "report", "--help"),
        ("-m", "dit_run", "plugins"),
        ("-m", "dit_run", "schema"),
        ("-m", "dit_run", "validate", str(ROOT / "configs" / "quickstart.yaml")),
    ],
    ids=lambda words: " ".join(words[1:3]),
)
def test_nothing_heavy(words: Sequence[str]) -> None:
    modules = imported(words)
    assert "dit_run" in modules
    assert not modules & HEAVY


@pytest.mark.slow
def test_training_imports_what_its_components_need_and_no_more(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    modules = imported(
        ("-m", "dit_run", str(config), "training.max_steps=1", f"training.output_dir={tmp_path / 'run'}")
    )
    assert "torch" in modules
    assert not modules & {"transformers", "diffusers", "tensorboard", "huggingface_hub", "tokenizers", "simplejpeg"}


def test_the_command_and_the_module_are_the_same() -> None:
    script = Path(sys.executable).with_name("dit-run")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    said = [
        subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, env=os.environ).stdout
        for words in ([script, "--help"], [sys.executable, "-m", "dit_run", "--help"])
    ]
    assert said[0] == said[1]
    assert said[0].startswith("usage: dit-run CONFIG [key=value ...]")


def test_modules_import_one_way() -> None:
    """No circle, those of type hints and of imports inside functions included; and the core never its plugins."""
    imports = dict(_imports())
    graphlib.TopologicalSorter(imports).prepare()
    plugins = {name for name in imports if name.startswith(PLUGINS.name)}
    assert not [name for name, used in imports.items() if name not in plugins and used & plugins]


def _imports() -> Iterator[tuple[str, set[str]]]:
    """Each module of ours with those of ours that it imports anywhere."""
    files = {_module(file): file for source in (CORE, PLUGINS) for file in source.rglob("*.py")}
    for name, file in files.items():
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        used = {part for node in nodes for alias in node.names for part in (f"{node.module}.{alias.name}", node.module)}
        yield name, {part for part in used if part in files and not name.startswith(f"{part}.")} - {name}


def _module(file: Path) -> str:
    source = CORE if file.is_relative_to(CORE) else PLUGINS
    return ".".join(file.relative_to(source.parent).with_suffix("").parts).removesuffix(".__init__")
