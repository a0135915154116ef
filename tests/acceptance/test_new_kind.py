"""A new kind is a row of the table, a protocol, a contract test and a template; everything else follows from these."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent

MEMBER = '    CALLBACK = "callback"\n'
ROW = """\
    Kind.AUGMENTATION: KindSpec(
        title="augmentation",
        text="Augmentation: changes training images.",
        section="augmentations",
        listed=LISTED,
        common=DatasetCommon if LISTED else None,
        protocol="dit_run.protocols.augmentation:Augmentation",
        runtime=("seed",),
        members=("augment",),
    ),
"""
PROTOCOL = '''
"""Augmentations: changes of training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image


class Augmentation(Protocol):
    """``build(options, *, seed: int) -> Augmentation``: changes training images."""

    def augment(self, image: Image.Image) -> Image.Image:
        """Return the changed image."""
        ...
'''
CONTRACT = '''
"""The contract test of augmentations."""

from dit_run.registry.kinds import Kind
from dit_run.testing.contract_error import Subject, check_all


def check_augmentation(component, **options):
    check_all(Subject.of(Kind.AUGMENTATION, component, options), CHECKS)


def changes_an_image(subject):
    """It changes an image."""
    subject.expect(subject.make(seed=1).augment(2) != 2, "augment() returns the image as it was")


CHECKS = (changes_an_image,)
'''
TEMPLATE = '''
"""An augmentation: multiplies."""

from dataclasses import dataclass

from dit_run import Component, Kind, hookimpl


@dataclass(frozen=True, kw_only=True)
class Example:
    """Multiplies the image."""

    strength: int = 3
    """Factor, a whole number."""


class ExampleAugmentation:
    def __init__(self, strength, seed):
        self.strength, self.seed = strength, seed

    def augment(self, image):
        return image * self.strength


def build(options, *, seed):
    return ExampleAugmentation(options.strength, seed)


@hookimpl
def dit_run_components():
    return [Component(Kind.AUGMENTATION, "example", Example, build)]
'''

Run = Callable[..., str]


def insert(path: Path, before: str, text: str) -> None:
    source = path.read_text()
    assert source.count(before) == 1
    path.write_text(source.replace(before, text + before))


@pytest.fixture(scope="module", params=[False, True], ids=["single", "listed"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python next to a plugin of the new kind, with a copy of the framework that has it; return the output."""
    folder = tmp_path_factory.mktemp("kind")
    core = folder / "framework" / "dit_run"
    shutil.copytree(ROOT / "framework" / "dit_run", core)  # compiled modules included
    kinds = core / "registry" / "kinds.py"
    insert(kinds, MEMBER, '    AUGMENTATION = "augmentation"\n')
    insert(kinds, "    Kind.CALLBACK: KindSpec(\n", ROW.replace("LISTED", str(request.param)))
    (core / "protocols" / "augmentation.py").write_text(PROTOCOL)
    (core / "testing" / "augmentation.py").write_text(CONTRACT)
    (core / "templates" / "augmentation.py").write_text(TEMPLATE)
    path = os.pathsep.join(map(str, (folder / "framework", ROOT / "plugins")))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "wrote triple.py" in run("-m", "dit_run", "new", "augmentation", "triple")
    return run


def test_new_writes_a_plugin_whose_config_is_valid(run: Run) -> None:
    assert "valid" in run("-m", "dit_run", "validate", "triple.yaml")


def test_the_schema_and_the_reference_have_its_section(run: Run) -> None:
    schema = json.loads(run("-m", "dit_run", "schema", "triple.yaml"))
    assert schema["properties"]["augmentations"]["description"] == "Augmentation: changes training images."
    assert schema["definitions"]["augmentation.triple"]["properties"]["strength"]["default"] == 3
    reference = run("-m", "dit_run", "schema", "triple.yaml", "--reference")
    assert "## augmentations\n\nAugmentation: changes training images.\n" in reference
    assert "| `strength` | a whole number | `3` | Factor, a whole number. |" in reference


def test_plugins_lists_shows_and_checks_it(run: Run) -> None:
    assert "augmentation.triple" in run("-m", "dit_run", "plugins", "--config", "triple.yaml")
    shown = run("-m", "dit_run", "plugins", "show", "augmentation.triple", "--config", "triple.yaml")
    assert "Multiplies the image." in shown
    checked = run("-m", "dit_run", "plugins", "check", "triple.py")
    assert "augmentation.triple: It changes an image" in checked
    assert checked.endswith("all good\n")


def test_its_contract_test_is_part_of_the_public_ones(run: Run) -> None:
    run("-c", "from dit_run.testing import check_augmentation; from pathlib import Path; "
        "check_augmentation(Path('triple.py'))")  # fmt: skip


def test_the_typed_config_has_it(run: Run) -> None:
    said = run(
        "-c",
        "from dit_run import load_config; from dit_run.registry.components import Kind\n"
        "config = load_config('triple.yaml')\n"
        "chosen = [choice for _, choice in config.choices() if choice.component.kind is Kind.AUGMENTATION]\n"
        "section = config.sections['augmentations']\n"
        "assert [section] == chosen or list(section) == chosen\n"
        "print(chosen[0].type, chosen[0].options.strength, 'augmentations' in config.to_dict())\n",
    )
    assert said == "triple 3 True\n"


def test_a_config_may_leave_it_out(run: Run) -> None:
    said = run(
        "-c",
        "from pathlib import Path; from dit_run import load_config\n"
        "Path('plain.yaml').write_text('training: {seed: 1}')\n"
        "config = load_config('plain.yaml')\n"
        "print(config.sections['augmentations'], config.to_dict().get('augmentations'))\n",
    )
    assert said in ("None None\n", "() []\n")
