"""The check against the schema: one problem for each fault, with code, place, words and help."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_registry import COMPONENTS, plugin

from dit_run.config.resolve import resolve
from dit_run.problems import ConfigError, Problem
from dit_run.registry.components import Kind
from dit_run.registry.loading import LoadFailure
from dit_run.registry.registry import Origin, Plugin, Registry

Problems = Callable[..., list[Problem]]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("training:\n  batch_size: 0\n", "2:15", "training.batch_size takes a whole number of at least 1, not 0"),
        ("training:\n  batch_size: 1.5\n", "2:15", "training.batch_size takes a whole number of at least 1, not 1.5"),
        ("training:\n  max_steps: x\n", "2:14",
         "training.max_steps takes a whole number of at least 1 or null, not the string 'x'"),
        ("training:\n  ema_decay: 1\n", "2:14",
         "training.ema_decay takes a number of at least 0 and below 1, not 1"),
        ("training:\n  mixed_precision: fp8\n", "2:20",
         "training.mixed_precision takes 'no', 'fp16', 'bf16' or 'auto', not the string 'fp8'"),
        ("data:\n  image_size: 250\n", "2:15",
         "data.image_size (coco) takes a whole number of at least 8, a multiple of 8, not 250"),
        ("optimizer:\n  betas: [0.9]\n", "2:10",
         "optimizer.betas (adamw) takes a list of 2, each a number of at least 0 and below 1, not a list of 1"),
        ("optimizer:\n  betas: [0.9, 1.0]\n", "2:16",
         "optimizer.betas[1] (adamw) takes a number of at least 0 and below 1, not 1.0"),
        ("optimizer:\n  betas: []\n", "2:10",
         "optimizer.betas (adamw) takes a list of 2, each a number of at least 0 and below 1, not an empty list"),
        ("model: 5\n", "1:8", "model takes a mapping, not 5"),
        ("trackers: {}\n", "1:11", "trackers takes a list, not a mapping"),
        ("trackers: [tensorboard]\n", "1:12", "trackers[0] takes a mapping, not the string 'tensorboard'"),
        ("trackers:\n  - every: 1\n", "2:5", "trackers[0] needs the key 'type'"),
        ("trackers:\n  - {type: remote, every: 0}\n", "2:27",
         "trackers[0].every (remote) takes a whole number of at least 1, not 0"),
        ("training: {batch_size: 1000000000000000000000}\n", "1:24",
         "training.batch_size takes a whole number of at least 1 and below 9223372036854775808, not "
         "1000000000000000000000"),
        ("training: {batch_size: 1e21}\n", "1:24",
         "training.batch_size takes a whole number of at least 1 and below 9223372036854775808, not 1e+21"),
        ("model: {width: 9223372036854775808}\n", "1:16",
         "model.width (dit) takes a whole number of at least 1 and below 9223372036854775808, not "
         "9223372036854775808"),
        ("trackers:\n  - {type: remote, every: 9223372036854775808}\n", "2:27",
         "trackers[0].every (remote) takes a whole number of at least 1 and below 9223372036854775808, not "
         "9223372036854775808"),
        ("data: {type: folder}\n", "1:1", "data (folder) needs the key 'dataset_path'"),
        ("plugins: x.py\n", "1:10", "plugins takes a list, each a string that is not empty, not the string 'x.py'"),
        ("model:\n", "1:1", "section model is empty"),
        ("optimizer: {type: 5}\n", "1:19", "optimizer.type takes 'adamw' or 'lion', not 5"),
        ("training:\n  device: tpu\n", "2:11",
         "training.device takes a string that matches ^(auto|cpu|mps|cuda(:[0-9]+)?)$, not the string 'tpu'"),
    ],
)  # fmt: skip
def test_one_fault_gives_one_problem(problems: Problems, text: str, place: str, message: str) -> None:
    (problem,) = problems(text)
    assert (str(problem.place), problem.message) == (f"c.yaml:{place}", message)


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        ("training: {bach_size: 1}", "did you mean 'batch_size'?"),
        ("training: {Batch-Size: 1}", "did you mean 'batch_size'?"),
        ("optimiser: {}", "did you mean 'optimizer'?"),
        ("optimizer: {batch_size: 1}", "'batch_size' is a key of training"),
        ("optimizer: {decay: 1}", "'decay' is a key of optimizer lion"),
        ("training: {width: 1}", "'width' is a key of model"),
        ("training: {use_ema: yes}", "YAML 1.2 reads 'yes' as a string: write true or false"),
        ("training: {batch_size: '8'}", "remove the quotes"),
        ("training: {batch_size: 1_000}", "YAML 1.2 has no underscores in numbers: write 1000"),
        ("training: {output_dir: 5}", "put it in quotes"),
        ("training: {mixed_precision: fp61}", "did you mean 'fp16'?"),
        ("optimizer: {type: Adam}", "did you mean 'adamw'?"),
        ("optimizer: {type: sgd}", "the types are: adamw, lion"),
        ("data: {type: folder}", "write 'dataset_path:' with a string"),
        ("training: {lr: 1}", "did you mean 'learning_rate'?"),
        ("optimizer: lion", "write 'optimizer: {type: lion}'"),
        ("trackers: [remote]", "write {type: remote}"),
    ],
)
def test_help(problems: Problems, text: str, help_: str) -> None:
    (problem,) = problems(text)
    assert help_ in problem.help


def test_a_type_in_place_of_its_component_on_the_command_line(problems: Problems) -> None:
    (problem,) = problems("", "optimizer=lion")
    assert problem.help == ("write optimizer.type=lion",)


def test_all_problems_at_once_in_the_order_of_their_places(brief: Callable[..., list[str]]) -> None:
    text = "training: {seed: x, sed: 1}\nmodel: {width: 0}\noptimizer:\n  type: sgd\ndata: {a: .inf}\n"
    assert brief(text) == [
        "c.yaml:1:18 wrong-type",
        "c.yaml:1:21 unknown-key",
        "c.yaml:2:16 out-of-bounds",
        "c.yaml:4:9 unknown-type",
        "c.yaml:5:8 unknown-key",
        "c.yaml:5:11 not-finite",
    ]


def test_an_unknown_type_names_the_plugins_that_failed(write: Callable[..., str]) -> None:
    failed = Plugin("extra", Origin.INSTALLED, "extra", "extra", "0.1", failure=LoadFailure("ImportError: no extra"))
    registry = Registry((plugin("small", *COMPONENTS), failed))
    with pytest.raises(ConfigError) as caught:
        resolve(write("optimizer: {type: sgd}"), registry=registry)
    (problem,) = caught.value.problems
    assert "plugin extra (extra 0.1) did not load: ImportError: no extra" in problem.help


def test_a_type_that_two_plugins_offer(write: Callable[..., str]) -> None:
    lion = next(component for component in COMPONENTS if component.type == "lion")
    rivals = [plugin(name, lion, origin=Origin.INSTALLED) for name in ("one", "two")]
    registry = Registry((plugin("small", *COMPONENTS), *rivals))
    with pytest.raises(ConfigError) as caught:
        resolve(write("optimizer: {type: lion}"), registry=registry)
    (problem,) = caught.value.problems
    assert problem.code == "ambiguous-type"
    assert "offered by one (dit-run 1.0) and two (dit-run 1.0)" in problem.message
    assert resolve(write(""), registry=registry).config.optimizer.type == "adamw"


def test_a_default_type_that_is_not_there(write: Callable[..., str]) -> None:
    registry = Registry((plugin("small", *(c for c in COMPONENTS if c.kind is not Kind.VAE)),))
    with pytest.raises(ConfigError) as caught:
        resolve(write("training: {seed: 1}"), registry=registry)
    assert [problem.message for problem in caught.value.problems] == ["there is no VAE 'autoencoder_kl'"]


def test_integral_floats_are_whole_numbers(load: Callable[..., object]) -> None:
    config = load("training: {batch_size: 5e2, learning_rate: 1}\noptimizer: {clip: 2.0}\n")
    assert repr(config.training.batch_size) == "500"  # type: ignore[attr-defined]
    assert repr(config.training.learning_rate) == "1.0"  # type: ignore[attr-defined]
    assert repr(config.optimizer.options.clip) == "2"  # type: ignore[attr-defined]
