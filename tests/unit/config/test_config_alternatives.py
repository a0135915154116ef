"""Two forms of one setting: at most one is written, and the one of the higher layer counts."""

from __future__ import annotations

from collections.abc import Callable

from dit_run import Config
from dit_run.problems import Problem

Load = Callable[..., Config]
Problems = Callable[..., list[Problem]]
Write = Callable[..., str]


def forms(config: Config) -> tuple[int | None, float | None]:
    options = config.lr_scheduler.options
    return options.warmup_steps, options.warmup


def test_a_share_replaces_the_default_number_without_a_word(load: Load) -> None:
    config = load("lr_scheduler: {warmup: 0.1}\n")
    assert (forms(config), config.notices) == ((None, 0.1), ())


def test_both_in_one_file_are_refused_at_both_places(problems: Problems) -> None:
    (problem,) = problems("lr_scheduler:\n  warmup_steps: 5\n  warmup: 0.1\n")
    assert (problem.code, str(problem.place)) == ("two-forms", "c.yaml:3:11")
    assert [str(place) for place in problem.related_places] == ["c.yaml:2:17"]
    assert problem.message == (
        "lr_scheduler.warmup and lr_scheduler.warmup_steps are two forms of one setting, and both are written"
    )


def test_both_on_the_command_line_are_refused(problems: Problems) -> None:
    (problem,) = problems("", "lr_scheduler.warmup_steps=5", "lr_scheduler.warmup=0.1")
    assert problem.code == "two-forms"


def test_an_argument_replaces_the_other_form_of_a_file(load: Load) -> None:
    assert forms(load("lr_scheduler: {warmup: 0.1}\n", "lr_scheduler.warmup_steps=5")) == (5, None)
    assert forms(load("lr_scheduler: {warmup_steps: 5}\n", "lr_scheduler.warmup=0.1")) == (None, 0.1)


def test_a_file_replaces_the_other_form_of_a_file_that_it_extends(load: Load, write: Write) -> None:
    write("lr_scheduler: {warmup: 0.1}\n", "base.yaml")
    assert forms(load("extends: base.yaml\nlr_scheduler: {warmup_steps: 5}\n")) == (5, None)


def test_a_form_that_is_null_is_not_written(load: Load) -> None:
    assert forms(load("lr_scheduler: {warmup_steps: 5, warmup: null}\n")) == (5, None)
    assert forms(load("lr_scheduler: {warmup: 0.1}\n", "lr_scheduler.warmup=null")) == (500, None)
