"""The digest of a plugin's code: it covers what the plugin can change, and nothing of the built-in parts."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import pytest
from torch import nn

from dit_run.registry.plugin_code import code_digest
from dit_run.registry.plugin_files import PluginFile
from dit_run_plugins.vaes.identity.vae import IdentityVae

MODULE = """
from torch import nn

class Encoder(nn.Module):
    def encode(self, images):
        return images * {factor}

def build(options):
    return Encoder()
"""


def packages(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    importlib.invalidate_caches()


def test_a_built_in_component_has_no_digest_of_its_code() -> None:
    assert code_digest("dit_run_plugins.vaes.identity.vae:build", IdentityVae()) == ""


def test_a_plugin_file_is_digested_by_its_bytes(tmp_path: Path) -> None:
    digests = set()
    for factor in (1, 2, 1):
        path = tmp_path / "my_vae.py"
        path.write_text(MODULE.format(factor=factor))
        module = PluginFile.read(path).load()
        digests.add(code_digest(module.build, module.build(None)))
    assert len(digests) == 2 and "" not in digests


def test_a_factory_that_returns_a_built_in_component_counts(tmp_path: Path) -> None:
    path = tmp_path / "my_vae.py"
    path.write_text(MODULE.format(factor=1))
    module = PluginFile.read(path).load()
    assert code_digest(functools.partial(module.build, extra=1), IdentityVae()) != ""


@pytest.mark.parametrize("files", [{"lab_vae/__init__.py": ""}, {}], ids=["package", "folder without __init__.py"])
def test_every_module_of_a_package_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    packages(tmp_path, {**files, "lab_vae/code.py": MODULE.format(factor=1), "lab_vae/inner/helper.py": "FACTOR = 1\n"})
    built = importlib.import_module("lab_vae.code").build(None)
    before = code_digest("lab_vae.code:build", built)
    (tmp_path / "lab_vae" / "notes.txt").write_text("not code")
    assert code_digest("lab_vae.code:build", built) == before != ""
    (tmp_path / "lab_vae" / "inner" / "helper.py").write_text("FACTOR = 2\n")
    assert code_digest("lab_vae.code:build", built) != before


def test_the_module_of_a_part_counts_outside_of_the_folders_of_installed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, differs in (("source", True), ("site-packages", False)):
        place = tmp_path / folder
        name = f"nets_{folder.partition('-')[0]}"
        monkeypatch.syspath_prepend(place)
        packages(place, {f"{name}.py": MODULE.format(factor=1)})
        built = nn.Sequential(importlib.import_module(name).build(None))
        before = code_digest("dit_run_plugins.vaes.identity.vae:build", built)
        (place / f"{name}.py").write_text(MODULE.format(factor=2))
        assert (code_digest("dit_run_plugins.vaes.identity.vae:build", built) != before) is differs
