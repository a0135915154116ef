"""The contract of an optimizer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.model.denoiser import parameter_roles, trainable_parameters
from dit_run.registry.components import Component, Kind
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.training.evaluation_weights import EvaluationWeights, has_modes, start_training

__all__ = ["CHECKS", "check_optimizer"]

_RATE = 1e-2


def check_optimizer(component: Component | str | Path, **options: Any) -> None:
    """Test an optimizer with these options on a small network.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError.
    """
    check_all(Subject.of(Kind.OPTIMIZER, component, options), CHECKS)


class _Network(nn.Module):
    """A small network with parameters of every role, and one parameter that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(2))
        self.output = nn.Linear(8, 4)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embedding(ids)
        for block in self.blocks:
            states = states + block(states)
        output: Tensor = self.output(states)
        return output


def _network() -> _Network:
    torch.manual_seed(0)
    return _Network()


def _make(subject: Subject, network: nn.Module, learning_rate: float = _RATE) -> torch.optim.Optimizer:
    optimizer = subject.make(
        named_parameters=trainable_parameters(network),
        roles=parameter_roles(network),
        learning_rate=learning_rate,
        device=torch.device("cpu"),
    )
    subject.expect(
        isinstance(optimizer, torch.optim.Optimizer),
        f"the factory returned {type(optimizer).__name__}; return a torch.optim.Optimizer",
    )
    start_training(optimizer)
    return optimizer  # type: ignore[no-any-return]


def _loss(network: nn.Module) -> Tensor:
    ids = torch.arange(8)
    target = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    loss: Tensor = (network(ids) - target).square().mean()
    return loss


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = _loss(network)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def _different(one: nn.Module, other: nn.Module) -> Iterator[str]:
    pairs = zip(one.named_parameters(), other.parameters(), strict=True)
    return (name for (name, mine), theirs in pairs if not torch.equal(mine, theirs))


def covers_every_parameter_once(subject: Subject) -> None:
    """Check that each parameter is in one param group."""
    network = _network()
    groups = _make(subject, network).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    for name, parameter in network.named_parameters():
        count = held.count(id(parameter))
        subject.expect(
            count == 1,
            f"parameter {name!r} is in {count or 'none'} of its param groups; "
            "put each parameter of named_parameters into one group",
        )


def follows_the_learning_rate(subject: Subject) -> None:
    """Check that the rates of its param groups are proportional to learning_rate."""
    rates = [[group["lr"] for group in _make(subject, _network(), rate).param_groups] for rate in (_RATE, 2 * _RATE)]
    for index, (one, two) in enumerate(zip(*rates, strict=True)):
        subject.expect(
            abs(two - 2 * one) <= 1e-6 * abs(two) and one > 0,
            f"param group {index} has lr {one:g} for learning_rate {_RATE:g} and {two:g} for {2 * _RATE:g}; "
            "set lr from the learning_rate argument of the factory",
        )


def learns(subject: Subject) -> None:
    """Check that 30 steps lower the loss of a small regression."""
    network = _network()
    optimizer = _make(subject, network)
    losses = _train(network, optimizer, 30)
    losses.append(_loss(network).item())
    subject.expect(
        losses[-1] < losses[0],
        f"after 30 steps at learning rate {_RATE:g} the loss of a small regression went from {losses[0]:.4g} to "
        f"{losses[-1]:.4g}; check sign and size of the update",
    )


def stands_still_at_rate_zero(subject: Subject) -> None:
    """Check that a step at learning rate 0, where a warm-up begins, changes nothing."""
    network = _network()
    optimizer, before = _make(subject, network), copy.deepcopy(network)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _train(network, optimizer, 2)
    for name in _different(network, before):
        subject.fail(
            f"a step at lr 0 changed parameter {name!r}; multiply the whole update by group['lr'] in every step"
        )


def leaves_parameters_without_gradient(subject: Subject) -> None:
    """Check that a parameter without a gradient keeps its value."""
    network = _network()
    _train(network, _make(subject, network), 3)
    subject.expect(
        bool((network.unused == 1).all()),
        "a step changed a parameter whose grad is None; skip such parameters",
    )


def repeats_itself(subject: Subject) -> None:
    """Check that the same start and gradients give the same bytes, for any state of the global generators."""
    results = []
    for seed in (1, 2):
        network = _network()
        optimizer = _make(subject, network)
        torch.manual_seed(seed)
        _train(network, optimizer, 5)
        results.append(network)
    for name in _different(*results):
        subject.fail(
            f"two equal runs of 5 steps differ in parameter {name!r}; "
            "use no random numbers, and keep no state outside the optimizer"
        )


def continues_from_its_state(subject: Subject) -> None:
    """Check that saved and loaded after 3 steps, it continues bit for bit."""
    network = _network()
    optimizer = _make(subject, network)
    evaluation = EvaluationWeights(network, optimizer)
    _train(network, optimizer, 3)
    with evaluation.shown():
        try:
            tensors, skeleton = split_state(optimizer.state_dict())
        except TypeError as error:
            subject.fail(f"its state_dict cannot be saved: {error}")
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        copied, kept = copy.deepcopy(network), evaluation.kept
    continued = _make(subject, copied)
    continued.load_state_dict(join_state(tensors, skeleton, where="a copy"))
    EvaluationWeights(copied, continued).restore(kept)
    _train(network, optimizer, 3)
    _train(copied, continued, 3)
    for name in _different(network, copied):
        subject.fail(
            f"3 steps after a round trip of its state_dict, parameter {name!r} differs; "
            "keep everything that a step depends on in self.state or in the param groups"
        )


def evaluates_without_a_trace(subject: Subject) -> None:
    """Check that calls of eval() and train() change nothing of the training, and that both may be repeated."""
    watched, unwatched = _network(), _network()
    optimizers = [_make(subject, network) for network in (watched, unwatched)]
    modes = [name for name in ("train", "eval") if callable(getattr(optimizers[0], name, None))]
    subject.expect(
        len(modes) != 1, f"it has {''.join(modes)}() alone; an optimizer has both train() and eval(), or neither"
    )
    if not has_modes(optimizers[0]):
        return
    evaluation = EvaluationWeights(watched, optimizers[0])
    for _ in range(3):
        with evaluation.shown():
            before = copy.deepcopy(watched)
            optimizers[0].eval()  # type: ignore[attr-defined]
            for name in _different(watched, before):
                subject.fail(f"a second eval() changed parameter {name!r}; let it change nothing in evaluation mode")
        optimizers[0].train()  # type: ignore[attr-defined]
        for network, optimizer in zip((watched, unwatched), optimizers, strict=True):
            _train(network, optimizer, 2)
    for name in _different(watched, unwatched):
        subject.fail(
            f"parameter {name!r} differs after eval() and train() between steps, with its training weights put back; "
            "change only the parameters and the mode in eval() and train()"
        )


CHECKS: tuple[Check, ...] = (
    covers_every_parameter_once,
    follows_the_learning_rate,
    learns,
    stands_still_at_rate_zero,
    leaves_parameters_without_gradient,
    repeats_itself,
    continues_from_its_state,
    evaluates_without_a_trace,
)
