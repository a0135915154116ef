"""Factories: what they are given, and whose fault it is when they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dit_run.problems import InputError
from dit_run.protocols import EVENTS, Callback, Progress
from dit_run.registry.components import Component, Kind
from dit_run.registry.factories import PluginFault, call, make, resolve


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Options of a test."""

    decay: float = 0.1
    """A number."""


def component(factory: str | Callable[..., Any]) -> Component:
    return Component(Kind.OPTIMIZER, "lion", Lion, factory)


def fault(factory: str | Callable[..., Any], **runtime: Any) -> str:
    with pytest.raises(PluginFault) as caught:
        make(component(factory), Lion(), **runtime)
    return str(caught.value)


def test_a_reference_is_the_function_it_names() -> None:
    assert resolve("dit_run.registry.factories:make") is make


def test_a_callable_is_itself() -> None:
    assert resolve(make) is make


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"^dit_run\.registry\.factories:__name__ is 'dit_run\.registry\.factories', which cannot be called",
    ):
        resolve("dit_run.registry.factories:__name__")


def test_a_factory_gets_its_options_and_the_keywords_that_it_names() -> None:
    def build(options: Lion, *, learning_rate: float) -> tuple[float, float]:
        return options.decay, learning_rate

    assert call(component(build), Lion(decay=0.5), learning_rate=0.1, device="cpu") == (0.5, 0.1)


def test_keywords_that_nobody_names_are_not_passed_to_catch_alls() -> None:
    def build(options: Lion, **rest: Any) -> dict[str, Any]:
        return rest

    assert call(component(build), Lion(), learning_rate=0.1) == {}


def test_a_default_stands_for_a_keyword_that_the_kind_does_not_have() -> None:
    def build(options: Lion, *, momentum: float = 0.9) -> float:
        return momentum

    assert call(component(build), Lion()) == 0.9


def test_a_keyword_that_the_kind_does_not_have_is_the_plugins_fault() -> None:
    def build(options: Lion, *, momentum: float) -> None: ...

    assert fault(build, learning_rate=0.1, device="cpu") == (
        "the factory of optimizer.lion asks for momentum; the runtime keywords of kind optimizer are "
        "device, learning_rate"
    )


def test_whatever_a_factory_raises_is_the_plugins_fault() -> None:
    def build(options: Lion) -> None:
        raise KeyError("betas")

    assert fault(build) == (
        "optimizer.lion could not be built: KeyError: 'betas' (a fault of the plugin; -v shows where)"
    )


def test_an_input_error_is_the_users() -> None:
    def build(options: Lion) -> None:
        raise InputError("there is no folder ./data")

    with pytest.raises(InputError, match=r"^there is no folder \./data$"):
        make(component(build), Lion())


def test_a_factory_that_fails_to_import_is_the_plugins_fault() -> None:
    assert fault("no_such_package.lion:build") == (
        "optimizer.lion could not be built: ModuleNotFoundError: No module named 'no_such_package' "
        "(a fault of the plugin; -v shows where)"
    )


@pytest.mark.parametrize(
    ("kind", "made", "fault"),
    [
        (
            Kind.OPTIMIZER,
            None,
            "None, which has no param_groups, step, zero_grad, state_dict, load_state_dict",
        ),
        (Kind.DATASET, iter(()), "tuple_iterator, which has no __len__, __getitem__"),
        (Kind.LR_SCHEDULER, 0.5, "float, which has no __call__"),
        (Kind.METRIC, max, "builtin_function_or_method, which has no prompts, count, score"),
        (Kind.TRACKER, print, "builtin_function_or_method, which has no command, log, image, text, flush, close"),
        (
            Kind.VAE,
            len,
            "builtin_function_or_method, which has no latent_channels, factor, cacheable, encode, decode, parameters, "
            "state_dict, to",
        ),
        (Kind.MODEL, len, "builtin_function_or_method, which has no patch_size, parameters, state_dict, to"),
    ],
)
def test_something_else_than_the_kind_must_be_is_the_plugins_fault(kind: Kind, made: object, fault: str) -> None:
    with pytest.raises(PluginFault) as caught:
        make(Component(kind, "lion", Lion, lambda options: made), Lion())
    assert str(caught.value) == (
        f"the factory of {kind}.lion returned {fault}; {kind.spec.protocol.replace(':', '.')} describes the object to "
        "return (a fault of the plugin)"
    )


def test_a_callback_may_have_any_of_its_methods() -> None:
    nothing = object()
    assert make(Component(Kind.CALLBACK, "lion", Lion, lambda options: nothing), Lion()) is nothing


class Notes:
    """A callback that is no subclass of dit_run.protocols.Callback."""

    def on_step_end(self, progress: Progress) -> None: ...


class BadNotes(Notes):
    def on_save(self, progress: Progress) -> None: ...


def test_a_callback_of_another_class_is_taken() -> None:
    notes = Notes()
    assert make(Component(Kind.CALLBACK, "notes", Lion, lambda options: notes), Lion()) is notes


def test_a_method_that_no_run_calls_is_refused_when_the_callback_is_built() -> None:
    with pytest.raises(PluginFault) as caught:
        make(Component(Kind.CALLBACK, "notes", Lion, lambda options: BadNotes()), Lion())
    assert str(caught.value) == (
        "callback.notes: BadNotes.on_save() is never called (did you mean on_sample()?); the methods of a callback are "
        "on_train_start, on_step_end, on_checkpoint_saved, on_sample, on_train_end (a fault of the plugin)"
    )


def test_a_method_that_no_run_calls_is_refused_in_a_subclass_at_once() -> None:
    with pytest.raises(TypeError) as caught:
        type("Late", (Callback,), {"on_step_ended": Notes.on_step_end})
    assert str(caught.value).startswith("Late.on_step_ended() is never called (did you mean on_step_end()?); ")


def test_every_method_of_the_base_class_does_nothing(tmp_path: Path) -> None:
    watcher = type("Idle", (Callback,), {"on_step_end": Notes.on_step_end, "only_mine": 1})()
    for name in EVENTS:
        assert getattr(watcher, name)(Progress(1, 2, tmp_path)) is None
