"""The contract of adapters finds adapters that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dit_run import Component, Kind
from dit_run.registry.registry import Registry
from dit_run.testing import ContractError, check_adapter

TEMPLATE = Path(__file__).resolve().parents[3] / "framework" / "dit_run" / "templates" / "adapter.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """No options."""


class Bias:
    """Adds a trained vector to the output of the last layer."""

    def add(self, model: Any) -> None:
        bias = nn.Parameter(torch.zeros(model.output.out_features))
        model.output.register_parameter("more", bias)
        model.output.register_forward_hook(lambda layer, given, output: output + layer.more)

    def merged(self, model: Any) -> dict[str, Tensor]:
        tensors = dict(model.state_dict())
        tensors["output.bias"] = tensors["output.bias"] + tensors.pop("output.more")
        return tensors

    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        (folder / "more.bin").write_bytes(b"0")


def component(made: Callable[[], Any]) -> Component:
    return Component(Kind.ADAPTER, "mine", Options, lambda options: made())


def test_the_template_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TEMPLATE.read_text().replace("example", "mine"))
    check_adapter(Registry().with_file(path).component(Kind.ADAPTER, "mine"))


class Trains(Bias):
    def add(self, model: Any) -> None:
        super().add(model)
        model.output.weight.requires_grad_(True)


class Changes(Bias):
    def add(self, model: Any) -> None:
        super().add(model)
        with torch.no_grad():
            model.output.weight.mul_(2)


class Begins(Bias):
    def add(self, model: Any) -> None:
        super().add(model)
        nn.init.ones_(model.output.more)

    def merged(self, model: Any) -> dict[str, Tensor]:
        tensors = super().merged(model)
        return {**tensors, "output.bias": tensors["output.bias"] - 1}


class Unseeded(Bias):
    def add(self, model: Any) -> None:
        super().add(model)
        model.output.register_parameter("noise", nn.Parameter(torch.tensor(float(next(NUMBERS)))))

    def merged(self, model: Any) -> dict[str, Tensor]:
        tensors = super().merged(model)
        return {name: value for name, value in tensors.items() if name != "output.noise"}


NUMBERS = iter(range(1000))


class Placed(Bias):
    def add(self, model: Any) -> None:
        super().add(model)
        model.output.more = nn.Parameter(torch.zeros(4, device="cpu"))


class Forgets(Bias):
    def merged(self, model: Any) -> dict[str, Tensor]:
        return {name: value for name, value in model.state_dict().items() if name != "output.more"}


class Shares(Bias):
    """Its hook reads the parameter of the first model, also in copies."""

    def add(self, model: Any) -> None:
        super().add(model)
        model.output._forward_hooks.clear()
        model.output.register_forward_hook(lambda layer, given, output: output + model.output.more)


class Renames(Bias):
    def merged(self, model: Any) -> dict[str, Tensor]:
        return {f"base.{name}": value for name, value in super().merged(model).items()}


class Silent(Bias):
    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        pass


class Lowers(Bias):
    def save(self, model: nn.Module, folder: Path, *, dtype: torch.dtype, base: str | None) -> None:
        super().save(model, folder, dtype=dtype, base=base)
        model.to(dtype)


@pytest.mark.parametrize(
    ("adapter", "fault"),
    [
        (Trains, "the model's own parameter 'output.weight' takes gradients"),
        (Changes, "add() changed the model's own 'output.weight'"),
        (Begins, "the output after add() is not that of the base"),
        (Unseeded, "parameter 'output.noise' differs after two add() with the same seed"),
        (Placed, "parameter 'output.more' is on cpu"),
        (Forgets, "a base with the merged() weights gives another output"),
        (Shares, "training an adapted model changed a copy of it"),
        (Renames, "merged() returns base.blocks.0.0.bias"),
        (Silent, "save() writes no file"),
        (Lowers, "save() changed"),
    ],
)
def test_a_broken_promise_is_named(adapter: type, fault: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_adapter(component(adapter))
    assert fault in str(caught.value)
