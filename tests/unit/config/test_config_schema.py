"""The composed schema, and how configs are compared and written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from small_registry import COMPONENTS, plugin

from dit_run import Config, Kind, load_config
from dit_run.config.comparison import ABSENT, Changes, Difference, absolute, changes, changing_keys, differences
from dit_run.config.dump import dump, run_config, to_yaml
from dit_run.config.schema import compose
from dit_run.options import options_of
from dit_run.registry.kind_options import DatasetCommon
from dit_run.registry.registry import Registry
from dit_run.settings import SECTIONS

Load = Callable[..., Config]
SMALL = Registry((plugin("small", *COMPONENTS),))


def nodes(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, dict):
        return [schema, *(node for value in schema.values() for node in nodes(value))]
    return [node for value in schema for node in nodes(value)] if isinstance(schema, list) else []


@pytest.mark.parametrize("editor", [False, True])
def test_both_forms_pass_the_metaschema(editor: bool) -> None:
    jsonschema.Draft7Validator.check_schema(compose(SMALL, editor=editor))


@pytest.mark.parametrize("editor", [False, True])
def test_the_form_that_the_design_fixes(editor: bool) -> None:
    schema = compose(SMALL, editor=editor)
    assert "required" not in schema
    for node in nodes(schema):
        assert not {"oneOf", "anyOf"} & set(node)
        assert "$ref" not in node or set(node) == {"$ref"}
    assert all(not node["additionalProperties"] for node in schema["definitions"].values())


def test_the_runtime_form_is_strict_and_undocumented() -> None:
    schema = compose(SMALL)
    assert not any({"title", "defaultSnippets", "markdownDescription"} & set(node) for node in nodes(schema))
    assert not list(jsonschema.Draft7Validator(schema).iter_errors({"training": {"batch_size": 5e2}}))
    assert list(jsonschema.Draft7Validator(schema).iter_errors({"training": {"batch_size": "${env:X}"}}))


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({"training": {"batch_size": "${env:X}"}}, True),
        ({"training": {"batch_size": "${env:X:-8}", "use_ema": "${env:Y}"}}, True),
        ({"training": {"batch_size": "many"}}, False),
        ({"training": {"device": "${env:DEVICE}"}}, True),
        ({"training": {"device": "tpu"}}, False),
        ({"optimizer": {"betas": ["${env:A}", 0.9]}}, True),
        ({"optimizer": {"momentum": 0.1}}, True),
        ({"optimizer": {"decay": 0.1}}, False),
        ({"optimizer": {"type": "lion", "decay": 0.1}}, True),
        ({"data": {"colours": ["red"]}}, True),
        ({"data": {"type": "folder", "dataset_path": "x"}}, True),
        ({"data": {"dataset_name": "folder", "dataset_path": "x"}}, True),
        ({"data": {"dataset_name": "folder", "colours": ["red"]}}, False),
        ({"data": {"dataset_name": "coco", "colours": ["red"]}}, True),
        ({"trackers": [{"type": "remote", "every": 2}]}, True),
        ({"trackers": [{"every": 2}]}, False),
        ({"metrics": [{"type": "any"}]}, False),
    ],
)
def test_the_form_for_editors(document: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft7Validator(compose(SMALL, editor=True)).is_valid(document) is valid


def test_every_key_has_a_description_in_the_form_for_editors() -> None:
    schema = compose(SMALL, editor=True)
    for section, cls in SECTIONS.items():
        for option in options_of(cls):
            assert schema["properties"][section]["properties"][option.name]["description"], (section, option.name)
    for option in options_of(DatasetCommon):
        assert schema["definitions"]["dataset.coco"]["properties"][option.name]["description"]


def test_types_are_described_in_order() -> None:
    type_ = compose(SMALL, editor=True)["properties"]["optimizer"]["properties"]["type"]
    assert type_["enum"] == ["adamw", "lion"]
    assert type_["markdownEnumDescriptions"] == ["Stochastic gradient descent.", "Evolved sign momentum."]
    assert type_["default"] == "adamw"


def test_snippets_begin_a_section_with_what_must_be_written() -> None:
    snippets = {snippet["label"]: snippet["body"] for snippet in compose(SMALL, editor=True)["defaultSnippets"]}
    assert snippets["data: folder"] == {"data": {"type": "folder", "dataset_path": "${1}"}}
    assert snippets["trackers: remote"] == {"trackers": [{"type": "remote"}]}
    assert len(snippets) == sum(len(SMALL.components(kind)) for kind in Kind)


# ------------------------------------------------------------------------------------------------------------ changes


def changed(before: Config, after: Config, **by_content: Any) -> Changes:
    """The changes from a config as a checkpoint keeps it."""
    return changes(json.loads(json.dumps(absolute(before).to_dict())), after, **by_content)


def test_free_keys_are_no_change(load: Load) -> None:
    a = load("training: {logging_steps: 5, output_dir: a}\ntrackers: []\n")
    b = load("training: {num_workers: 0, output_dir: b}\nsampling: {steps: 3}\n")
    assert changed(a, b) == Changes()
    assert ("training", "logging_steps") in changing_keys(a)
    assert differences(a.to_dict(), b.to_dict()) != []


def test_adjustable_keys_are_noted(load: Load) -> None:
    a, b = load("training: {batch_size: 4}\n"), load("training: {batch_size: 2, seed: 3}\n")
    assert changed(a, b) == Changes(
        refused=[Difference(("training", "seed"), 42, 3)], noted=[Difference(("training", "batch_size"), 4, 2)]
    )


def test_paths_are_no_change_where_their_content_is_compared(load: Load) -> None:
    a, b = (load(f"data: {{type: folder, dataset_path: {name}}}\nvae: {{name: {name}}}\n") for name in "ab")
    assert [change.path for change in changed(a, b).refused] == [("data", "dataset_path"), ("vae", "name")]
    assert [change.path for change in changed(a, b, by_content={"data"}).refused] == [("vae", "name")]
    assert changed(a, b, by_content={"data", "vae"}) == Changes()


def test_a_key_of_a_later_release_had_its_default(load: Load) -> None:
    config = load("")
    before = config.to_dict()
    del before["training"]["seed"], before["model"]["width"]
    assert changes(before, config) == Changes()
    other = load("training: {seed: 3}\n")
    assert changes(before, other).refused == [Difference(("training", "seed"), ABSENT, 3)]


def test_differences_name_the_key(load: Load) -> None:
    a, b = load("model: {width: 32}\n"), load("optimizer: {type: lion, decay: 0.5, momentum: 0.9}\n")
    assert changed(a, b).refused == [
        Difference(("model", "width"), 32, 64),
        Difference(("optimizer", "type"), "adamw", "lion"),
        Difference(("optimizer", "betas"), [0.9, 0.999], ABSENT),
        Difference(("optimizer", "eps"), 1e-8, ABSENT),
        Difference(("optimizer", "nesterov"), False, ABSENT),
        Difference(("optimizer", "clip"), None, ABSENT),
        Difference(("optimizer", "decay"), ABSENT, 0.5),
    ]


def test_one_and_true_and_one_point_nought_differ() -> None:
    assert [d.path for d in differences({"a": 1, "b": 1, "c": 1}, {"a": 1.0, "b": True, "c": 1})] == [("a",), ("b",)]


def test_paths_become_absolute_and_hub_names_stay(load: Load, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = "data: {type: folder, dataset_path: ./images}\nvae: {name: weights}\ntext_encoder: {name: a/b}\n"
    config = absolute(load(text))
    assert config.data.options.dataset_path == str(tmp_path / "images")
    assert (config.vae.options.name, config.text_encoder.options.name) == (str(tmp_path / "weights"), "a/b")
    assert changed(config, load(text)) == Changes()


# ------------------------------------------------------------------------------------------------------------ writing


def test_a_run_config_is_runnable_from_anywhere(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    monkeypatch.setenv("API_KEY", "hunter2")
    text = "data: {dataset_name: folder, dataset_path: images}\ntrackers: [{type: remote, key: '${env:API_KEY}'}]\n"
    config = load(text)
    written = run_config(config)
    assert "hunter2" not in written
    assert "dataset_name" not in written
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(written)
    monkeypatch.chdir("/")
    again = load_config(tmp_path / "run" / "config.yaml", registry=registry)
    assert again == absolute(again)
    assert again.trackers == config.trackers
    assert again.to_dict() == load_config(tmp_path / "run" / "config.yaml", registry=registry).to_dict()


def test_plugin_files_may_be_named_by_their_copies(load: Load) -> None:
    assert "plugins: [plugins/own.py]" in run_config(load(""), plugins=["plugins/own.py"])


def test_words_that_would_be_read_as_something_else_are_quoted() -> None:
    words = ["no", "on", "12:30", "1e-4", "0o17", "null", "", "a: b", "2026-01-01", "=", "a\nb", "é"]
    for word in words:
        text = to_yaml({"a": word})
        assert text.startswith('a: "') or word == "é" or text == f"a: '{word}'\n", text


def test_a_literal_reference_is_escaped(load: Load) -> None:
    config = load("training: {output_dir: '$${env:HOME}'}\n")
    assert config.training.output_dir == "${env:HOME}"
    assert "output_dir: $${env:HOME}" in dump(config)
