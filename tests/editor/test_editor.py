"""What an editor shows, by driving yaml-language-server over stdio; and what strict validators say of the schema.

Set up once with ``npm ci --prefix tests/editor``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from language_server import LanguageServer

from dit_run.cli.main import main
from dit_run.config.keys import component_options
from dit_run.registry.components import Kind
from dit_run.registry.registry import discover

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EDITOR_KEYWORDS = (
    "defaultSnippets",
    "doNotSuggest",
    "markdownDescription",
    "markdownEnumDescriptions",
    "patternErrorMessage",
)
"""Keywords of the editors' schema that draft-07 does not have; validators ignore them."""
MODULES = HERE / "node_modules"
SERVERS = {"1.19": "yaml-language-server-1.19", "newest": "yaml-language-server"}
MODELINE = "# yaml-language-server: $schema=schema.json\n"
PLUGIN = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.options import Probability

@dataclass(frozen=True, kw_only=True)
class Tiger:
    """A striped optimizer."""

    stripes: Probability = 0.25
    """Share of the parameters that are skipped."""

@hookimpl
def dit_run_components():
    return [Component(Kind.OPTIMIZER, "tiger", Tiger, "tiger_for_editors:build")]

def build(options):
    raise NotImplementedError
'''

pytestmark = [
    pytest.mark.editor,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not MODULES.is_dir(), reason="run: npm ci --prefix tests/editor"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin file, a config that names it, and the schema of both."""
    folder = tmp_path_factory.mktemp("editor")
    (folder / "tiger_for_editors.py").write_text(PLUGIN)
    (folder / "own.yaml").write_text("plugins: [./tiger_for_editors.py]\n")
    assert main(["schema", str(folder / "own.yaml"), "-o", str(folder / "schema.json")]) == 0
    return folder


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[LanguageServer]:
    program = MODULES / SERVERS[request.param] / "bin" / "yaml-language-server"
    with LanguageServer(program, folder) as server:
        yield server


class Editor:
    """A document whose place of interest is marked with ``|``."""

    def __init__(self, server: LanguageServer, text: str) -> None:
        before, _, after = (MODELINE + text).partition("|")
        self.server = server
        self.uri = server.open(f"{abs(hash(text))}.yaml", before + after)
        self.at = (before.count("\n"), len(before) - before.rfind("\n") - 1)

    def offers(self) -> set[str]:
        return {item["label"] for item in self.server.completion(self.uri, *self.at)}

    def hover(self) -> str:
        return self.server.hover(self.uri, *self.at)

    def problems(self) -> list[tuple[int, int, int, str]]:
        """Line and columns, from 1 in the document without its modeline, and what is said."""
        return [
            (d["range"]["start"]["line"], d["range"]["start"]["character"] + 1, d["range"]["end"]["character"] + 1,
             d["message"])
            for d in self.server.diagnostics(self.uri)
        ]  # fmt: skip


def keys(kind: Kind, type_: str) -> set[str]:
    return {option.name for option in component_options(discover().component(kind, type_))}


# --------------------------------------------------------------------------------------------------------- completion


def test_an_empty_block_offers_the_keys_of_its_default_type_only(server: LanguageServer) -> None:
    assert Editor(server, "optimizer:\n  |\n").offers() == {"type", *keys(Kind.OPTIMIZER, "adamw")}


def test_after_type_the_installed_types_are_offered(server: LanguageServer) -> None:
    assert Editor(server, "optimizer:\n  type: |\n").offers() == {*discover().components(Kind.OPTIMIZER), "tiger"}


def test_after_the_type_its_own_options_are_offered(server: LanguageServer) -> None:
    assert Editor(server, "optimizer:\n  type: muon\n  |\n").offers() == keys(Kind.OPTIMIZER, "muon")
    assert Editor(server, "data:\n  type: shapes\n  |\n").offers() == keys(Kind.DATASET, "shapes")


def test_one_text_encoder_and_each_of_a_list_are_completed(server: LanguageServer) -> None:
    words = keys(Kind.TEXT_ENCODER, "words")
    assert Editor(server, "text_encoder:\n  type: words\n  |\n").offers() == words
    assert Editor(server, "text_encoder:\n  - type: clip\n  - type: words\n    |\n").offers() == words
    assert Editor(server, "text_encoder:\n  - type: |\n").offers() == {*discover().components(Kind.TEXT_ENCODER)}
    assert Editor(server, "text_encoder:\n  - {type: clip}\n  - {type: words, width: 8}\n|").problems() == []
    ((line, *_),) = Editor(server, "text_encoder:\n  - type: clip\n  - type: words\n    wdth: 8\n|").problems()
    assert line == 4


def test_the_old_name_of_the_dataset_counts_as_its_type(server: LanguageServer) -> None:
    offered = Editor(server, "data:\n  dataset_name: shapes\n  |\n").offers()
    assert keys(Kind.DATASET, "shapes") <= offered <= {"type", *keys(Kind.DATASET, "shapes")}


def test_options_of_a_plugin_of_ones_own_are_offered(server: LanguageServer) -> None:
    assert Editor(server, "optimizer:\n  type: tiger\n  |\n").offers() == {"stripes"}


def test_sections_are_offered_at_the_top(server: LanguageServer) -> None:
    offered = Editor(server, "|\n").offers()
    assert {"data", "model", "training", "sampling", "plugins", "extends", "optimizer: tiger"} <= offered


# -------------------------------------------------------------------------------------------------------------- hover


def test_hover_shows_description_and_default(server: LanguageServer) -> None:
    text = Editor(server, "training:\n  batch_|size: 8\n").hover()
    assert "Samples per process and micro-step." in text.replace("\\", "")
    assert "Default: `96`" in text


def test_hover_of_a_plugin_of_ones_own(server: LanguageServer) -> None:
    text = Editor(server, "optimizer:\n  type: tiger\n  str|ipes: 0.5\n").hover()
    assert "Share of the parameters that are skipped." in text.replace("\\", "")
    assert "Default: `0.25`" in text


def test_hover_of_a_type_describes_each(server: LanguageServer) -> None:
    text = Editor(server, "optimizer:\n  ty|pe: tiger\n").hover()
    assert "`tiger`: A striped optimizer." in text.replace("\\", "")


# -------------------------------------------------------------------------------------------------------- diagnostics


@pytest.mark.parametrize(
    ("text", "line", "start", "end"),
    [
        ("optimizer:\n  weigth_decay: 0.1\n", 2, 3, 15),
        ("optimizer:\n  type: muon\n  weigth_decay: 0.1\n", 3, 3, 15),
        ("data:\n  dataset_name: shapes\n  image_sise: 32\n", 3, 3, 13),
        ("trackers:\n  - type: tensorboard\n    foo: 1\n", 3, 5, 8),
        ("optimizer:\n  type: adamx\n  weight_decay: 1\n", 2, 9, 14),
        ("training:\n  batch_size: 0\n", 2, 15, 16),
        ("data:\n  type: shapes\n  image_size: 250\n", 3, 15, 18),
        ("optimizer:\n  type: tiger\n  stripes: 2\n", 3, 12, 13),
        ("optimizer:\n  type: tiger\n  strips: 0.5\n", 3, 3, 9),
        ("optimiser: {}\n", 1, 1, 10),
    ],
)
def test_one_diagnostic_at_its_place(server: LanguageServer, text: str, line: int, start: int, end: int) -> None:
    (problem,) = Editor(server, text).problems()
    assert problem[:3] == (line, start, end)


def test_a_word_in_place_of_a_number_says_what_is_wanted(server: LanguageServer) -> None:
    (problem,) = Editor(server, "training:\n  batch_size: many\n").problems()
    assert problem[3] == "a whole number of at least 1, or ${env:NAME}"


@pytest.mark.parametrize(
    "text",
    [
        "training:\n  batch_size: ${env:BATCH:-8}\n  use_ema: ${env:EMA}\n",
        "training:\n  save_steps: null\n  device: ${env:DEVICE}\n",
        "training:\n  batch_size: 5e2\n",
        "data:\n  dataset_name: shapes\n",
        "extends: [a.yaml, b.yaml]\nplugins: []\n",
    ],
)
def test_what_is_right_has_no_diagnostics(server: LanguageServer, text: str) -> None:
    assert Editor(server, text).problems() == []


def test_every_config_finds_its_schema_and_has_no_diagnostics() -> None:
    configs = sorted((ROOT / "configs").glob("*.yaml"))
    program = MODULES / SERVERS["newest"] / "bin" / "yaml-language-server"
    with LanguageServer(program, ROOT / "configs") as server:
        found = {path.name: server.diagnostics(server.open(path.name, path.read_text())) for path in configs}
        wrong = server.open("wrong.yaml", configs[0].read_text() + "nonsense: 1\n")
        assert len(server.diagnostics(wrong)) == 1
    assert found == {path.name: [] for path in configs}


# -------------------------------------------------------------------------------------------------- strict validators


def test_ajv_in_strict_mode_takes_the_schema(tmp_path: Path) -> None:
    documents = {"good": {"optimizer": {"type": "muon"}}, "bad": {"optimizer": {"type": "muon", "x": 1}, "y": 1}}
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    command = [
        "node",
        str(HERE / "ajv_strict.mjs"),
        ",".join(EDITOR_KEYWORDS),
        str(ROOT / "schemas/dit-run.schema.json"),
    ]
    files = [str(tmp_path / f"{name}.json") for name in documents]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    valid, invalid = done.stdout.splitlines()
    assert valid == "valid"
    assert "/optimizer additionalProperties" in invalid
    assert " additionalProperties" in invalid


def test_check_jsonschema_takes_the_schema_and_the_configs() -> None:
    pytest.importorskip("check_jsonschema")
    schema = str(ROOT / "schemas/dit-run.schema.json")
    tool = [sys.executable, "-m", "check_jsonschema"]
    subprocess.run([*tool, "--check-metaschema", schema], check=True, capture_output=True)
    configs = [str(path) for path in sorted((ROOT / "configs").glob("*.yaml"))]
    subprocess.run([*tool, "--schemafile", schema, *configs], check=True, capture_output=True)
