"""The pytest fixtures for plugin authors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_run.registry.components import Kind
from dit_run.registry.registry import Registry, discover
from dit_run.testing import TinyRun
from dit_run.testing.fixtures import empty_registry, run_config
from dit_run.testing.plugin_imports import forgotten

__all__ = ["empty_registry", "run_config"]

RunConfig = Callable[..., TinyRun]

COUNTER = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Counter:
    """Counts steps."""

    name: str = "steps.txt"
    """The file."""

class Counting:
    def __init__(self, path):
        self.path = path

    def on_step_end(self, progress):
        self.path.write_text(str(progress.step))

@hookimpl
def dit_run_components():
    return [Component(Kind.CALLBACK, "counter", Counter, build)]

def build(options, *, run_dir):
    return Counting(run_dir / options.name)
'''


@pytest.mark.usefixtures("empty_registry")
def test_an_empty_registry_turns_discovery_off() -> None:
    assert discover() == Registry()


def test_what_is_imported_from_a_folder_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (tmp_path / "forgettable.py").write_text("import colorsys")
    with forgotten(tmp_path):
        importlib.import_module("forgettable")
        assert "forgettable" in sys.modules
    assert "forgettable" not in sys.modules
    assert "colorsys" in sys.modules


def test_an_empty_registry_has_no_types(empty_registry: Registry) -> None:
    assert empty_registry.types(Kind.OPTIMIZER) == ()


def test_a_run_of_two_steps_gives_its_folder_and_metrics(run_config: RunConfig) -> None:
    run = run_config("optimizer: {weight_decay: 0.5}")
    assert run.errors == ()
    assert [line["step"] for line in run.metrics] == [1, 2]
    assert {"loss", "learning_rate", "grad_norm"} <= set(run.metrics[0])
    assert (run.run_dir / "checkpoints" / "step-00000002").is_dir()
    assert run.config is not None
    assert run.config.optimizer.options.weight_decay == 0.5


def test_files_lie_next_to_the_config(run_config: RunConfig) -> None:
    run = run_config("plugins: [./counter.py]\ncallbacks: [{type: counter}]", **{"counter.py": COUNTER})
    assert (run.run_dir / "steps.txt").read_text() == "2"


def test_two_runs_do_not_meet(run_config: RunConfig) -> None:
    one, other = run_config("training: {max_steps: 1, save_steps: 1}"), run_config("training: {max_steps: 0}")
    assert one.run_dir != other.run_dir


def test_errors_are_given(run_config: RunConfig) -> None:
    run = run_config("optimizer: {weigth_decay: 0.1}")
    assert run.errors == ("optimizer (adamw) has no key 'weigth_decay'",)
    assert run.metrics == ()


def test_a_plugin_that_fails_while_it_trains_is_an_error(run_config: RunConfig) -> None:
    text = COUNTER.replace("str(progress.step)", "str(progress.steps)")
    run = run_config("plugins: [./counter.py]\ncallbacks: [{type: counter}]", **{"counter.py": text})
    path = run.run_dir.with_name("counter.py")
    (error,) = run.errors
    assert error.splitlines()[:3] == [
        f"callback counter, on_step_end, failed 2 times from step 1 on: plugin {path} failed: "
        "AttributeError: 'Progress' object has no attribute 'steps'",
        f'  File "{path}", line 17, in on_step_end',
        "    self.path.write_text(str(progress.steps))",
    ]


def test_a_plugin_that_cannot_be_made_is_an_error(run_config: RunConfig) -> None:
    text = COUNTER.replace("return Counting", "raise KeyError('name')\n    return Counting")
    run = run_config("plugins: [./counter.py]\ncallbacks: [{type: counter}]", **{"counter.py": text})
    assert run.errors == (
        "callback.counter could not be built: KeyError: 'name' (a fault of the plugin; -v shows where)",
    )
