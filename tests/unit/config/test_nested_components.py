"""Components inside an option: schema, types, places of problems, environment, explanations, dumps and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from small_registry import COMPONENTS, plugin

from dit_run.config.comparison import changes, changing_keys
from dit_run.config.dump import dump
from dit_run.config.explanation import explanations
from dit_run.config.resolve import resolve
from dit_run.config.schema import compose
from dit_run.options import LocalPath, PositiveFloat, Secret, components_of, options_of
from dit_run.problems import ConfigError, Problem
from dit_run.registry.components import Component, Kind
from dit_run.registry.registry import Registry
from dit_run.settings import Choice, Config


@dataclass(frozen=True, kw_only=True)
class Item:
    """The keys of a part."""

    weight: PositiveFloat = 1.0
    """Its weight."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Several datasets."""

    parts: Annotated[tuple[Choice, ...], components_of("dataset", Item, without=("image_size",))]
    """The datasets."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Another dataset."""

    root: Annotated[str, LocalPath] = "./data"
    """Folder."""
    token: Annotated[str | None, Secret] = None
    """Key."""


REGISTRY = Registry(
    (
        plugin(
            "tests",
            *COMPONENTS,
            Component(Kind.DATASET, "mix", Mix, "m:build"),
            Component(Kind.DATASET, "remote", Remote, "m:build"),
        ),
    )
)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    monkeypatch.chdir(tmp_path)

    def loaded(parts: str, *more: str) -> Config:
        Path("c.yaml").write_text(f"data:\n  type: mix\n  crop: random\n  parts:\n    - {parts}\n")
        return resolve("c.yaml", more, registry=REGISTRY).config

    return loaded


def problem(load: Callable[..., Config], parts: str) -> Problem:
    with pytest.raises(ConfigError) as error:
        load(parts)
    (found,) = error.value.problems
    return found


def test_parts_are_typed_and_take_the_common_values_of_their_holder(load: Callable[..., Config]) -> None:
    config = load("{type: remote, weight: 2, root: x}\n    - {type: coco, crop: center}", "data.image_size=64")
    (one_path, one), (two_path, two) = config.datasets()
    assert (one_path, two_path) == (("data", "parts", 0), ("data", "parts", 1))
    assert (one.item, one.options) == (Item(weight=2.0), Remote(root="x"))
    assert (one.common.crop, two.common.crop) == ("random", "center")
    assert (one.common.image_size, two.common.image_size) == (64, 64)


@pytest.mark.parametrize(
    ("parts", "place", "message"),
    [
        ("{type: coca}", "5:14", "there is no dataset 'coca'"),
        ("{type: mix, parts: []}", "5:14", "a dataset 'mix' holds others and cannot be inside of one"),
        ("{type: coco, weight: 0}", "5:28", "data.parts[0].weight (coco) takes a number above 0, not 0"),
        ("{type: coco, wieght: 1}", "5:20", "data.parts[0] (coco) has no key 'wieght'"),
        ("{type: coco, image_size: 64}", "5:20", "data.parts[0] (coco) has no key 'image_size'"),
        ("{weight: 1}", "5:7", "data.parts[0] needs the key 'type'"),
        ("coco", "5:7", "data.parts[0] (mix) takes a mapping, not the string 'coco'"),
        ("{type: remote, token: plain}", "5:29",
         "data.parts[0].token is a secret, which must not be written into a config"),
        ("{type: coco, num_samples: 1e30}", "5:33",
         "data.parts[0].num_samples (coco) takes a whole number of at least 1 and below 9223372036854775808 or null, "
         "not 1e+30"),
    ],
)  # fmt: skip
def test_problems_have_their_place(load: Callable[..., Config], parts: str, place: str, message: str) -> None:
    found = problem(load, parts)
    assert found.message == message
    assert found.place is not None and f"{found.place.line}:{found.place.column}" == place


def test_help_names_what_is_near(load: Callable[..., Config]) -> None:
    assert "did you mean 'weight'?" in problem(load, "{type: coco, wieght: 1}").help
    assert "'image_size' is a key of data for all of its parts" in problem(load, "{type: coco, image_size: 8}").help
    assert "write {type: coco}" in problem(load, "coco").help


def test_an_empty_list_is_refused(load: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as error:
        load("{type: coco}", "data.parts=[]")
    assert [each.message for each in error.value.problems] == [
        "data.parts (mix) takes a list of at least 1, not an empty list"
    ]


def test_environment_and_secrets_reach_inside(load: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KIND": "remote", "TOKEN": "s3cret", "WEIGHT": "2.5"}.items():
        monkeypatch.setenv(name, value)
    config = load("type: ${env:KIND}\n      token: ${env:TOKEN}\n      weight: ${env:WEIGHT}")
    ((_, part),) = config.datasets()
    assert (part.options.token, part.item.weight) == ("s3cret", 2.5)
    assert "s3cret" not in dump(config) and "${env:TOKEN}" in dump(config)


def test_a_dump_reads_back_to_the_same_config(load: Callable[..., Config]) -> None:
    config = load("{type: remote, weight: 2, root: x}\n    - {type: coco, crop: center}")
    Path("dumped.yaml").write_text(dump(config))
    assert resolve("dumped.yaml", registry=REGISTRY).config == config


def test_explanations_name_the_value_of_the_holder(load: Callable[..., Config]) -> None:
    found = {item.path[2:]: item for item in explanations(load("{type: remote, weight: 2}"), "data.parts")}
    assert (found[0, "weight"].value, found[0, "weight"].origin) == (2.0, "c.yaml:5:30")
    assert (found[0, "crop"].value, found[0, "crop"].origin) == ("random", "c.yaml:3:9")
    assert found[0, "root"].text == "Folder." and found[0, "type"].value == "remote"
    assert (0, "image_size") not in found


def test_a_continued_run_may_have_its_parts_elsewhere_and_nothing_else(load: Callable[..., Config]) -> None:
    before = load("{type: remote, weight: 2, root: /x}").to_dict()
    found = changes(before, load("{type: remote, weight: 3, root: /y}"), by_content=["data"])
    assert [(each.path, each.before, each.after) for each in found.refused] == [
        (("data", "parts", 0, "weight"), 2.0, 3.0)
    ]
    assert ("data", "parts", 0, "on_bad_sample") in changing_keys(load("{type: coco}"))


def test_both_forms_of_the_schema_are_closed_by_type() -> None:
    for editor in (False, True):
        schema = compose(REGISTRY, editor=editor)
        jsonschema.Draft7Validator.check_schema(schema)
        faults = [
            error.message
            for error in jsonschema.Draft7Validator(schema).iter_errors(
                {"data": {"type": "mix", "parts": [{"type": "coco", "weight": 1}, {"type": "coco", "root": "x"}]}}
            )
        ]
        assert faults == ["Additional properties are not allowed ('root' was unexpected)"]
        definition = schema["definitions"]["dataset.mix.parts.coco"]["properties"]
        assert "default" not in definition["crop"] and "image_size" not in definition
    assert "Default: that of the data." in definition["crop"]["markdownDescription"]


def test_an_option_knows_its_components() -> None:
    (option,) = options_of(Mix)
    assert option.required and option.components is not None
    assert (option.components.kind, option.components.item) == ("dataset", Item)


def test_rules_may_adjust_a_key_of_a_part(load: Callable[..., Config]) -> None:
    from dit_run.config.rule_checks import replace_value

    config: Any = load("{type: remote}\n    - {type: coco}")
    changed = replace_value(config, ("data", "parts", 1, "weight"), 3.0)
    changed = replace_value(changed, ("data", "parts", 0, "root"), "y")
    changed = replace_value(changed, ("data", "parts", 0, "crop"), "center")
    one, two = (choice for _, choice in changed.datasets())
    assert (one.options.root, one.common.crop, two.item.weight) == ("y", "center", 3.0)
