"""``dit-run new KIND NAME``: write a working plugin with its test and an example config."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dit_run.cli.common_options import add_plugin_flags, installed
from dit_run.config.dump import to_yaml
from dit_run.problems import InputError
from dit_run.registry.components import Kind
from dit_run.registry.plugin_files import PluginFile
from dit_run.registry.registry import Registry

__all__ = ["configure", "package", "run", "single_file"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help=f"one of {', '.join(Kind)}")
    parser.add_argument("name", metavar="NAME", help="the type's name: lower-case letters, digits and underscores")
    parser.add_argument(
        "--package", action="store_true", help="write an installable package in the folder dit-run-NAME"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path(), help="folder for the files (default: the current folder)"
    )
    add_plugin_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    kind, name = _checked(arguments.kind, arguments.name, installed(arguments))
    texts = package(kind, name) if arguments.package else single_file(kind, name)
    _write(arguments.output, texts)
    for path in texts:
        print(f"wrote {arguments.output / path}")
    print("next:")
    for line in _next(arguments.output, name, packaged=arguments.package):
        print(f"  {line}")
    return 0


def _checked(kind: str, name: str, registry: Registry) -> tuple[Kind, str]:
    if kind not in list(Kind):
        raise InputError(f"there is no kind {kind!r}; the kinds are {', '.join(Kind)}")
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a valid name of a type; use lower-case letters, digits and underscores")
    if name in registry.types(Kind(kind)):
        raise InputError(f"{kind}.{name} exists already (dit-run plugins show {kind}.{name}); choose another name")
    return Kind(kind), name


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all files or none.

    Raises InputError if a file exists already, or if a module has the name of the plugin file.
    """
    taken = [folder / path for path in texts if (folder / path).exists()]
    if taken:
        raise InputError(f"{taken[0]} exists already; choose another name, or another folder with --output DIR")
    for path, text in texts.items():
        if "/" not in path and path.endswith(".py"):
            PluginFile((folder / path).absolute(), text.encode()).refuse_taken_name()
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _next(folder: Path, name: str, *, packaged: bool) -> list[str]:
    here = folder / f"dit-run-{_dashed(name)}" if packaged else folder
    config, schema = here / f"{name}.yaml", here / "dit-run.schema.json"
    test = here / "tests" if packaged else here / f"test_{name}.py"
    lines = [f"pip install -e {here}"] if packaged else []
    return [*lines, f"python -m pytest {test}", f"dit-run {config}", f"dit-run schema {config} -o {schema}"]


# --------------------------------------------------------------------------------------------------------------- texts


def single_file(kind: Kind, name: str) -> dict[str, str]:
    """Return the texts of a plugin file, its test and a config that names it, by path."""
    return {
        f"{name}.py": _plugin(kind, name),
        f"test_{name}.py": _test(kind, name, f'Path(__file__).with_name("{name}.py")', in_file=True),
        f"{name}.yaml": _config(kind, name, {"plugins": [f"./{name}.py"]}),
    }


def package(kind: Kind, name: str) -> dict[str, str]:
    """Return the texts of a package with an entry point, a test and a config, by path."""
    folder, module = f"dit-run-{_dashed(name)}", f"dit_run_{name}"
    return {
        f"{folder}/pyproject.toml": _PYPROJECT.format(dashed=_dashed(name), name=name, kind=kind, module=module),
        f"{folder}/README.md": _README.format(folder=folder, kind=kind, name=name),
        f"{folder}/src/{module}/__init__.py": f'"""The {kind} {name} for dit-run."""\n',
        f"{folder}/src/{module}/plugin.py": _plugin(kind, name),
        f"{folder}/src/{module}/py.typed": "",
        f"{folder}/tests/test_{name}.py": _test(kind, name, f'"{name}"', in_file=False),
        f"{folder}/{name}.yaml": _config(kind, name, {}),
    }


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _plugin(kind: Kind, name: str) -> str:
    """Return the kind's template with the type's name in place of ``example``."""
    text = files("dit_run.templates").joinpath(kind.template).read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("Example", title).replace("example", name)


def _test(kind: Kind, name: str, plugin: str, *, in_file: bool) -> str:
    lines = [
        f'"""Tests that the {kind} {name} keeps its contract, and trains."""',
        "",
        *(["from pathlib import Path", ""] if in_file else []),
        f"from dit_run.testing import {', '.join(sorted([f'check_{kind}', 'check_plugin']))}",
        "from dit_run.testing.fixtures import run_config",
        "",
        '__all__ = ["run_config"]',
        "",
        f"PLUGIN = {plugin}",
        f'CONFIG = {"f" if in_file else ""}"""',
        *(['plugins: ["{PLUGIN}"]'] if in_file else []),
        *to_yaml(_chosen(kind, name)).splitlines(),
        '"""',
        *_TESTS.format(kind=kind).splitlines(),
    ]
    return "\n".join(lines) + "\n"


def _chosen(kind: Kind, name: str) -> dict[str, Any]:
    """Return the sections of a config that choose the component, and sections that must match it."""
    chosen: dict[str, Any] = {kind.section: [{"type": name}] if kind.listed else {"type": name}}
    if kind is Kind.VAE:
        chosen["model"] = {"in_channels": 12, "out_channels": 12}
    return chosen


def _config(kind: Kind, name: str, plugins: Mapping[str, Any]) -> str:
    """Return a config that trains a small model on captioned shapes within a minute."""
    values = {**plugins, **_BASE, "training": {"output_dir": f"./outputs/{name}", **_TRAINING}}
    for section, chosen in _chosen(kind, name).items():
        if section == "model" and kind is not Kind.MODEL:
            chosen = {**_BASE["model"], **chosen}
        values[section] = {**chosen, "image_size": 32} if kind is Kind.DATASET else chosen
    return _HEAD.format(name=name) + to_yaml(values)


_BASE: Mapping[str, Any] = {
    "data": {"type": "shapes", "image_size": 32, "size": 2000},
    "model": {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "patch_size": 4, "in_channels": 3, "out_channels": 3},
    "vae": {"type": "identity"},
    "text_encoder": {"type": "words", "width": 64},
    "scheduler": {"type": "flow_matching"},
    "validation": {"every_n_steps": 50, "num_samples": 32},
    "sampling": {"every_n_steps": 50, "steps": 10},
}
_TRAINING: Mapping[str, Any] = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "max_steps": 50,
    "save_steps": 50,
    "save_every_n_epochs": None,
    "logging_steps": 10,
    "mixed_precision": "no",
    "num_workers": 0,
}

_HEAD = """\
# yaml-language-server: $schema=./dit-run.schema.json
# dit-run {name}.yaml
"""

_TESTS = """

def test_plugin():
    check_plugin(PLUGIN)


def test_contract():
    check_{kind}(PLUGIN)  # pass options by keyword: check_{kind}(PLUGIN, width=8)


def test_two_steps(run_config):
    run = run_config(CONFIG)
    assert run.errors == ()
    assert len(run.metrics) == 2
"""

_PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "dit-run-{dashed}"
version = "0.1.0"
description = "The {kind} {name} for dit-run"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["dit-run"]

[project.optional-dependencies]
test = ["pytest>=8.2"]

[project.entry-points.dit_run]
{name} = "{module}.plugin"

[tool.hatch.build]
dev-mode-dirs = ["src"]

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""

_README = """\
# {folder}

The {kind} `{name}` for dit-run. After installation, every config can choose `type: {name}`.

    pip install -e .[test]
    python -m pytest
    dit-run {name}.yaml
"""
