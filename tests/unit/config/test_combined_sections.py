"""Sections that are one component, or a list of components that work together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dit_run.config.comparison import Difference, changes, differences
from dit_run.config.dump import dump
from dit_run.config.explanation import explanations
from dit_run.problems import ConfigError, Problem
from dit_run.settings import Choice, Config

Load = Callable[..., Config]
Problems = Callable[..., list[Problem]]

TWO = "text_encoder:\n- name: a/b\n- {type: clip, name: c/d, caption_dropout: 0.5}\n"


def test_a_list_chooses_several_of_which_one_without_type_has_the_default(load: Load) -> None:
    chosen = load(TWO).chosen("text_encoder")
    assert [(each.type, each.options.name, each.common.caption_dropout) for each in chosen] == [
        ("clip", "a/b", 0.0),
        ("clip", "c/d", 0.5),
    ]


@pytest.mark.parametrize("text", ["text_encoder: [{name: a/b}]\n", "text_encoder: {name: a/b}\n"])
def test_a_list_of_one_is_that_one(load: Load, text: str) -> None:
    config = load(text)
    assert isinstance(config.text_encoder, Choice)
    assert config.text_encoder.options.name == "a/b"
    assert ("text_encoder", "name") in config.written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text_encoder: []\n", "1:15: text_encoder takes a mapping or a list of at least 1, not an empty list"),
        ("text_encoder: 5\n", "1:15: text_encoder takes a mapping or a list of at least 1, not 5"),
        ("text_encoder: [{}, 5]\n", "1:20: text_encoder[1] takes a mapping, not 5"),
        ("text_encoder: [{}, {type: bert}]\n", "1:27: there is no text encoder 'bert'"),
        ("text_encoder: [{}, {nme: a}]\n", "1:21: text_encoder[1] (clip) has no key 'nme'"),
        ("text_encoder: [{name: 1}, {}]\n", "1:23: text_encoder[0].name (clip) takes a string, not 1"),
        ("model: [{}]\n", "1:8: model takes a mapping, not a list of 1"),
    ],
)
def test_a_fault_in_a_list_is_reported_at_its_place(problems: Problems, text: str, message: str) -> None:
    (problem,) = problems(text)
    assert f"{problem.place}: {problem.message}" == f"c.yaml:{message}"


def test_keys_of_a_list_cannot_be_set_alone(load: Load) -> None:
    with pytest.raises(ConfigError, match="text_encoder is a list of 2 components, and keys of one of them cannot be"):
        load(TWO, "text_encoder.name=x/y")
    assert isinstance(load(TWO, "text_encoder.type=clip").text_encoder, Choice)
    (only,) = load("text_encoder: [{name: a/b}]\n", "text_encoder.name=x/y").chosen("text_encoder")
    assert only.options.name == "x/y"


def test_a_dump_reads_back_to_the_same_list(load: Load) -> None:
    assert load(dump(load(TWO))) == load(TWO)


def test_an_item_is_explained_with_its_place(load: Load) -> None:
    found = {each.path: each for each in explanations(load(TWO), "text_encoder")}
    assert found["text_encoder", 1, "caption_dropout"].origin.endswith("c.yaml:3:44")
    assert found["text_encoder", 0, "caption_dropout"].origin == "default"


def test_lists_are_compared_key_by_key(load: Load) -> None:
    before, after = load(TWO), load(TWO.replace("0.5", "0.25"))
    path = ("text_encoder", 1, "caption_dropout")
    assert differences(before.to_dict(), after.to_dict()) == [Difference(path, 0.5, 0.25)]
    assert changes(before.to_dict(), after).refused == [Difference(path, 0.5, 0.25)]
    other = changes(before.to_dict(), load(TWO.replace("c/d", "e/f")), by_content=("text_encoder",))
    assert (other.refused, other.noted) == ([], [])
