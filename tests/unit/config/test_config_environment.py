"""References to environment variables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dit_run import Config
from dit_run.problems import Problem

Load = Callable[..., Config]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZE", "5e2")
    monkeypatch.setenv("WORD", "no")
    monkeypatch.setenv("DIGITS", "123")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)


def test_a_plain_reference_is_read_like_a_plain_word(load: Load) -> None:
    assert load("training: {batch_size: '${env:DIGITS}'}", "training.batch_size=${env:SIZE}").training.batch_size == 500


def test_text_stays_text_where_text_is_asked_for(load: Load) -> None:
    assert load("training:\n  output_dir: ${env:DIGITS}\n").training.output_dir == "123"


def test_references_inside_a_text(load: Load) -> None:
    text = "training:\n  output_dir: ${env:WORD}/${env:UNSET:-b}/${env:EMPTY}$${env:X}\n"
    assert load(text).training.output_dir == "no/b/${env:X}"


def test_a_default_is_used_only_where_the_name_is_not_set(load: Load) -> None:
    assert load("training:\n  seed: ${env:DIGITS:-1}\n").training.seed == 123
    assert load("training:\n  seed: ${env:UNSET:-1}\n").training.seed == 1


def test_an_unset_name_is_an_error_at_its_place(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("training:\n  output_dir: a/${env:UNSET}/b\n")
    assert (problem.code, str(problem.place)) == ("unset-variable", "c.yaml:2:17")
    assert problem.message == "the environment variable UNSET is not set"


def test_a_value_below_another_layer_is_not_looked_at(load: Load) -> None:
    assert load("training:\n  seed: ${env:UNSET}\n", "training.seed=1").training.seed == 1


@pytest.mark.parametrize("reference", ["${UNSET}", "${oc.env:HOME}", "${env:}", "${env:1A}", "${env:SIZE"])
def test_other_references_are_refused(problems: Callable[..., list[Problem]], reference: str) -> None:
    (problem,) = problems(f"training:\n  output_dir: '{reference}'\n")
    assert (problem.code, str(problem.place)) == ("bad-reference", "c.yaml:2:16")


def test_a_type_may_come_from_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIMIZER", "lion")
    config = load("optimizer: {eps: 1e-3}\n", "optimizer.type=${env:OPTIMIZER}")
    assert config.optimizer.type == "lion"


def test_a_secret_is_written_as_a_reference_only(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems("trackers:\n  - {type: remote, key: abc}\n")
    assert (problem.code, str(problem.place)) == ("secret-in-config", "c.yaml:2:25")
    assert "abc" not in problem.message


def test_a_secret_reaches_its_component_and_nothing_else(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hunter2")
    config = load("trackers:\n  - {type: remote, key: '${env:API_KEY}'}\n")
    assert config.trackers[0].options.key == "hunter2"
    assert config.to_dict()["trackers"][0]["key"] == "${env:API_KEY}"


def test_an_infinite_variable(problems: Callable[..., list[Problem]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZE", ".inf")
    (problem,) = problems("training:\n  ema_warmup: ${env:SIZE}\n")
    assert (problem.code, str(problem.place)) == ("not-finite", "c.yaml:2:15")


def test_items_of_a_list_of_text_stay_text(load: Load) -> None:
    assert load("sampling:\n  prompts: [a, '${env:DIGITS}']\n").sampling.prompts == ("a", "123")
    assert load("sampling:\n  prompts:\n  - ${env:DIGITS}\n").sampling.prompts == ("123",)


def test_a_section_is_no_reference(problems: Callable[..., list[Problem]]) -> None:
    assert [problem.code for problem in problems("training: '${env:DIGITS}'\n")] == ["wrong-type"]
