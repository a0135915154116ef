"""Optimizers that break one promise each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from faults import Nothing, fault, keep
from torch import Tensor

from dit_run.registry.components import Kind

KIND = Kind.OPTIMIZER


class Momentum(torch.optim.Optimizer):
    """Plain momentum; a test breaks one of its methods."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "decay": 0.9})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group, parameter in self.wanted():
            mean = self.memory(parameter)
            mean.mul_(group["decay"]).add_(parameter.grad if parameter.grad is not None else 0)
            parameter.add_(mean, alpha=-group["lr"])

    def wanted(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        return ((g, p) for g in self.param_groups for p in g["params"] if p.grad is not None)

    def memory(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        mean: Tensor = state["mean"]
        return mean


def build(options: Nothing, *, named_parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
    return Momentum([parameter for _, parameter in named_parameters], learning_rate)


def broken(cls: type[Momentum]) -> str:
    def build(options: Nothing, *, named_parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
        return cls([parameter for _, parameter in named_parameters], learning_rate)

    return fault(KIND, build)


def test_momentum_keeps_the_contract() -> None:
    keep(KIND, build)


def test_something_else_than_an_optimizer() -> None:
    assert fault(KIND, lambda options: []) == "the factory returned list; return a torch.optim.Optimizer"


def test_a_factory_that_raises() -> None:
    def build(options: Nothing) -> None:
        raise KeyError("betas")

    message = fault(KIND, build)
    assert message == "optimizer.broken could not be built: KeyError: 'betas' (a fault of the plugin; -v shows where)"


def test_a_parameter_left_out() -> None:
    def build(options: Nothing, *, named_parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
        return Momentum([p for name, p in named_parameters if "bias" not in name], learning_rate)

    assert fault(KIND, build) == (
        "parameter 'blocks.0.0.bias' is in none of its param groups; "
        "put each parameter of named_parameters into one group"
    )


def test_a_learning_rate_of_its_own() -> None:
    def build(options: Nothing, *, named_parameters: Any) -> torch.optim.Optimizer:
        return Momentum([parameter for _, parameter in named_parameters], 0.1)

    assert fault(KIND, build) == (
        "param group 0 has lr 0.1 for learning_rate 0.01 and 0.1 for 0.02; "
        "set lr from the learning_rate argument of the factory"
    )


def test_the_wrong_sign() -> None:
    class Uphill(Momentum):
        def step(self, closure: Any = None) -> None:
            for _, parameter in self.wanted():
                parameter.grad.neg_()  # type: ignore[union-attr]
            super().step()

    assert re.fullmatch(
        r"after 30 steps at learning rate 0\.01 the loss of a small regression went from 1\.496 to nan; "
        r"check sign and size of the update",
        broken(Uphill),
    )


def test_an_update_that_is_not_scaled_by_the_rate() -> None:
    class Decaying(Momentum):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for _, parameter in self.wanted():
                parameter.mul_(0.999)
            super().step()

    assert broken(Decaying) == (
        "a step at lr 0 changed parameter 'embedding.weight'; multiply the whole update by group['lr'] in every step"
    )


def test_an_update_without_gradient() -> None:
    class Everywhere(Momentum):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - 0.1 * group["lr"])
            super().step()

    assert broken(Everywhere) == "a step changed a parameter whose grad is None; skip such parameters"


def test_noise_of_its_own() -> None:
    class Noisy(Momentum):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for group, parameter in self.wanted():
                parameter.add_(torch.randn_like(parameter), alpha=0.01 * group["lr"])
            super().step()

    assert broken(Noisy) == (
        "two equal runs of 5 steps differ in parameter 'embedding.weight'; "
        "use no random numbers, and keep no state outside the optimizer"
    )


def test_state_outside_the_state() -> None:
    class Hidden(Momentum):
        def memory(self, parameter: Tensor) -> Tensor:
            held: dict[int, Tensor] = self.__dict__.setdefault("hidden", {})
            return held.setdefault(id(parameter), torch.zeros_like(parameter))

    assert broken(Hidden) == (
        "3 steps after a round trip of its state_dict, parameter 'embedding.weight' differs; "
        "keep everything that a step depends on in self.state or in the param groups"
    )


def test_state_that_cannot_be_saved() -> None:
    class Odd(Momentum):
        def memory(self, parameter: Tensor) -> Tensor:
            mean = super().memory(parameter)
            self.state[parameter]["seen"] = {1, 2}
            return mean

    assert broken(Odd) == (
        "its state_dict cannot be saved: the state holds set at state/1/seen; only tensors, numbers, strings, None, "
        "lists, tuples and dicts can be saved"
    )


class TwoWeights(Momentum):
    """Momentum that is evaluated on weights moved back by half of the running mean."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr)
        for group in self.param_groups:
            group["trains"] = True

    def train(self) -> None:
        self.move(to=True, by=-0.5)

    def eval(self) -> None:
        self.move(to=False, by=0.5)

    @torch.no_grad()
    def move(self, *, to: bool, by: float) -> None:
        for group in self.param_groups:
            for parameter in group["params"] if group["trains"] != to else ():
                if parameter in self.state:
                    parameter.add_(self.memory(parameter), alpha=by)
            group["trains"] = to


def test_two_weights_keep_the_contract() -> None:
    def build(options: Nothing, *, named_parameters: Any, learning_rate: float) -> torch.optim.Optimizer:
        return TwoWeights([parameter for _, parameter in named_parameters], learning_rate)

    keep(KIND, build)


def test_one_mode_of_two() -> None:
    class OnlyEval(Momentum):
        def eval(self) -> None: ...

    assert broken(OnlyEval) == "it has eval() alone; an optimizer has both train() and eval(), or neither"


def test_a_second_evaluation_that_moves_weights() -> None:
    class Moving(TwoWeights):
        @torch.no_grad()
        def eval(self) -> None:
            super().eval()
            self.param_groups[0]["params"][0].add_(1)

    assert broken(Moving) == ("a second eval() changed parameter 'unused'; let it change nothing in evaluation mode")


def test_an_evaluation_that_leaves_a_trace() -> None:
    class Forgetful(TwoWeights):
        def eval(self) -> None:
            super().eval()
            self.param_groups[0]["decay"] = 0.5

    assert broken(Forgetful) == (
        "parameter 'embedding.weight' differs after eval() and train() between steps, with its training weights put "
        "back; change only the parameters and the mode in eval() and train()"
    )
