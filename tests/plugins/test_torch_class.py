"""torch: every optimizer of PyTorch that can train here keeps the contract, and mistakes are found before a run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_run.problems import ConfigError, InputError
from dit_run.testing import check_optimizer
from dit_run.testing.tiny_run import tiny_config
from dit_run_plugins.optimizers.torch_class import TorchClass, build
from dit_run_plugins.optimizers.torch_signatures import class_names, read_signature

REFUSED = ("LBFGS", "SparseAdam", "Rprop", "Muon")


def made(**options: Any) -> torch.optim.Optimizer:
    weight, bias = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    named, roles = [("weight", weight), ("bias", bias)], {"weight": "matrix", "bias": "bias"}
    return build(TorchClass(**options), named_parameters=named, roles=roles, learning_rate=0.125)


def messages(folder: Path, **optimizer: Any) -> list[tuple[str, tuple[str, ...]]]:
    with pytest.raises(ConfigError) as raised:
        tiny_config(folder, {"optimizer": {"type": "torch", **optimizer}})
    return [(problem.message, problem.help) for problem in raised.value.problems]


def test_all_optimizers_of_torch_are_known() -> None:
    classes = {
        name
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    assert set(class_names()) == classes


@pytest.mark.parametrize("name", class_names())
def test_arguments_that_are_read_from_the_source_are_those_of_the_class(name: str) -> None:
    parameters = inspect.signature(getattr(torch.optim, name)).parameters
    read = read_signature(name).parameters
    assert list(read) == list(parameters)
    for argument, parameter in parameters.items():
        if read[argument].default is not None:
            assert read[argument].default == parameter.default
            default = parameter.default
            assert read[argument].takes(tuple(default) if isinstance(default, list) else default)


@pytest.mark.parametrize("name", sorted(set(class_names()) - set(REFUSED)))
def test_every_class_that_can_train_keeps_the_contract(name: str) -> None:
    check_optimizer("torch", name=name)


def test_the_groups_have_the_rate_the_decay_and_the_arguments() -> None:
    decayed, kept = made(name="RAdam", arguments={"betas": (0.5, 0.75)}, weight_decay=0.5).param_groups
    assert (decayed["lr"], decayed["weight_decay"], decayed["betas"]) == (0.125, 0.5, (0.5, 0.75))
    assert (kept["lr"], kept["weight_decay"]) == (0.125, 0.0)


@pytest.mark.parametrize(("name", "decay"), [("AdamW", 0.01), ("SGD", 0.0)])
def test_without_a_decay_it_is_that_of_the_class(name: str, decay: float) -> None:
    assert made(name=name).param_groups[0]["weight_decay"] == decay


def test_a_misspelt_class_is_refused_with_the_near_one(tmp_path: Path) -> None:
    ((message, help_),) = messages(tmp_path, name="Radam")
    assert message.startswith("torch.optim has no optimizer 'Radam'; it has ASGD, Adadelta, Adafactor, ")
    assert "LBFGS" not in message
    assert help_ == ("did you mean 'RAdam'?",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("LBFGS", "it computes the loss several times in each step (a closure), and a step of a run does so once"),
        ("SparseAdam", "it takes sparse gradients, and those of these models are dense"),
        ("Rprop", "it needs the gradient of the whole dataset, and its step sizes ignore the learning rate"),
        ("Muon", "it takes matrices alone; `type: muon` gives AdamW the other parameters"),
    ],
)
def test_a_class_that_cannot_train_is_refused_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    assert messages(tmp_path, name=name) == [(f"optimizer.name {name} cannot train here: {reason}", ())]


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("beta", [0.9, 0.99], "torch.optim.RAdam has no argument 'beta'; it has betas, eps, decoupled_weight_decay,"),
        ("lr", 0.1, "optimizer.arguments cannot have lr: the learning rate is training.learning_rate"),
        ("weight_decay", 0.1, "optimizer.arguments cannot have weight_decay: the weight decay is optimizer.weight_dec"),
        ("maximize", True, "optimizer.arguments cannot have maximize: a run minimises its loss"),
        ("betas", 0.9, "optimizer.arguments.betas of RAdam is a list of 2, not 0.9"),
        ("betas", [0.9], "optimizer.arguments.betas of RAdam is a list of 2, not [0.9]"),
        ("eps", "small", "optimizer.arguments.eps of RAdam is a number, not 'small'"),
        ("eps", True, "optimizer.arguments.eps of RAdam is a number, not True"),
        ("foreach", 1, "optimizer.arguments.foreach of RAdam is true or false or null, not 1"),
        ("betas", [1.5, 0.9], "torch.optim.RAdam refuses optimizer.arguments: Invalid beta parameter at index 0: 1.5"),
        ("eps", -1.0, "torch.optim.RAdam refuses optimizer.arguments: Invalid epsilon value: -1.0"),
    ],
)
def test_a_bad_argument_is_refused_at_its_place(tmp_path: Path, argument: str, value: Any, message: str) -> None:
    ((said, _),) = messages(tmp_path, name="RAdam", arguments={argument: value})
    assert said.startswith(message)


def test_a_misspelt_argument_has_a_near_one(tmp_path: Path) -> None:
    ((_, help_),) = messages(tmp_path, name="SGD", arguments={"momentun": 0.9})
    assert help_ == ("did you mean 'momentum'?",)


def test_a_factory_that_no_rule_ran_before_refuses_the_same() -> None:
    with pytest.raises(InputError, match=r"^optimizer\.name LBFGS cannot train here: "):
        made(name="LBFGS")
    with pytest.raises(InputError, match=r"^torch\.optim\.SGD refuses optimizer\.arguments: Nesterov momentum"):
        made(name="SGD", arguments={"nesterov": True})


def test_a_config_is_checked_without_torch(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("optimizer: {type: torch, name: RAdam, arguments: {bets: [0.9, 0.99]}}\n")
    code = (
        "import sys; from dit_run.cli.main import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    ran = subprocess.run([sys.executable, "-c", code, "validate", config], capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    assert "config.yaml:1:57" in ran.stderr
    assert "did you mean 'betas'?" in ran.stderr
