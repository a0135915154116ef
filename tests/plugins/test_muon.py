"""muon: which parameters it takes, and that it continues bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dit_run.compute.devices import multiplies_bfloat16
from dit_run.model.denoiser import parameter_roles, trainable_parameters
from dit_run.training.step import update_where
from dit_run_plugins.optimizers import adamw, muon
from dit_run_plugins.optimizers.composite import CompositeOptimizer
from dit_run_plugins.optimizers.muon import Muon
from dit_run_plugins.optimizers.muon_fp32 import MuonFp32
from dit_run_plugins.optimizers.muon_grouped import GroupedMuon


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 8)
        self.input = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 8)])
        self.norm = nn.LayerNorm(8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.input(self.words(ids))
        return self.norm(self.blocks[1](self.blocks[0](x).tanh()))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def make(net: nn.Module, **options) -> torch.optim.Optimizer:
    return muon.build(
        Muon(**options),
        named_parameters=trainable_parameters(net),
        roles=parameter_roles(net),
        learning_rate=0.01,
        device=torch.device("cpu"),
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        ids = torch.randint(5, (6,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(ids).square().sum(-1).sub(3).square().mean().backward()
        optimizer.step()


def test_matrices_of_blocks_go_to_muon_and_the_rest_to_adamw(net):
    groups = make(net, weight_decay=0.1, adamw_rate=0.5).param_groups
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert [[names[id(parameter)] for parameter in group["params"]] for group in groups] == [
        ["blocks.0.weight", "blocks.1.weight"],
        ["input.weight"],
        ["words.weight", "input.bias", "blocks.0.bias", "blocks.1.bias", "norm.weight", "norm.bias"],
    ]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.01, 0.1), (0.005, 0.1), (0.005, 0.0)]


def test_the_update_of_a_matrix_is_that_of_torch(net):
    other = copy.deepcopy(net)
    train(net, make(net), range(3))
    matrices = [layer.weight for layer in other.blocks]
    rest = [p for p in other.parameters() if all(p is not matrix for matrix in matrices)]
    reference = torch.optim.Muon if multiplies_bfloat16(torch.device("cpu")) else MuonFp32
    ours = reference(matrices, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    theirs = torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    theirs.param_groups[0]["params"] = [p for p in rest if p is not other.input.weight]
    theirs.add_param_group({"params": [other.input.weight], "weight_decay": 0.01})
    for step in range(3):
        train(other, _Both(ours, theirs), range(step, step + 1))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(8, 16), (16, 8)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_in_fp32_it_is_torchs_but_for_the_rounding_of_bfloat16(shape, nesterov):
    torch.manual_seed(0)
    start = torch.randn(shape)
    one, other = (nn.Parameter(start.clone()) for _ in range(2))
    shared = {"lr": 0.01, "weight_decay": 0.1, "nesterov": nesterov, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = MuonFp32([one], **shared), torch.optim.Muon([other], **shared)
    for _ in range(3):
        one.grad = other.grad = torch.randn(shape)
        for optimizer in optimizers:
            optimizer.step()
    moved = (other - start).norm()
    assert (one - other).norm() < 0.02 * moved
    assert not torch.equal(one, other)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert torch.equal(states[0]["state"][0]["momentum_buffer"], states[1]["state"][0]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (9, 9)])
def test_a_rate_and_decay_of_the_original_are_converted_by_the_number_of_inputs(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    one, other = (nn.Parameter(start.clone()) for _ in range(2))
    factor = 0.2 * shape[1] ** 0.5
    original = torch.optim.Muon([one], lr=0.02, weight_decay=0.1)
    ours = GroupedMuon(
        [other],
        lr=0.02 / factor,
        weight_decay=0.1 * factor,
        adjust_lr_fn="match_rms_adamw",
        dtype=torch.bfloat16,
    )
    for _ in range(2):
        one.grad = other.grad = torch.randn(shape)
        original.step()
        ours.step()
    torch.testing.assert_close(one, other)
    assert not torch.equal(one, start)


class _Both:
    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def test_it_continues_bit_for_bit_from_its_state(net):
    optimizer = make(net)
    train(net, optimizer, range(3))
    resumed = copy.deepcopy(net)
    again = make(resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(net, optimizer, range(3, 6))
    train(resumed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), resumed.parameters(), strict=True))


def test_its_state_is_tensors_and_plain_values(net):
    optimizer = make(net)
    train(net, optimizer, range(1))
    state = optimizer.state_dict()
    values = [value for entry in state["state"].values() for value in entry.values()]
    values += [value for group in state["param_groups"] for value in group.values()]
    assert all(isinstance(value, torch.Tensor | int | float | str | bool | list | tuple | None) for value in values)
    assert len(state["state"]) == len(list(net.parameters()))


def test_the_learning_rate_of_its_groups_is_what_moves(net):
    optimizer = make(net)
    before = copy.deepcopy(net)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(net, optimizer, range(2))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


def test_a_network_without_blocks_is_left_to_adamw():
    net = nn.Linear(3, 3)
    assert [group["lr"] for group in make(net).param_groups] == [0.01, 0.01]


SHARED = {"lr": 0.01, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}


def matrices() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in [(8, 16), (16, 8), (8, 16), (4, 4), (16, 8)]]


@pytest.mark.parametrize("nesterov", [True, False])
def test_equal_shapes_together_are_updated_as_each_alone(nesterov):
    grouped, alone = matrices(), matrices()
    optimizers = (
        GroupedMuon(grouped, dtype=torch.float32, nesterov=nesterov, **SHARED),
        MuonFp32(alone, nesterov=nesterov, **SHARED),
    )
    for _ in range(3):
        for one, other in zip(grouped, alone, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(grouped, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert {frozenset(state) for each in states for state in each["state"].values()} == {frozenset({"momentum_buffer"})}


def on_device(parameters: list[nn.Parameter], bias: nn.Parameter) -> CompositeOptimizer:
    """Muon and AdamW as they are built for a GPU."""
    inner = adamw.build(
        adamw.AdamW(),
        named_parameters=[("bias", bias)],
        roles={"bias": "bias"},
        learning_rate=0.01,
        device=torch.device("cpu"),
    )
    return CompositeOptimizer([GroupedMuon(parameters, dtype=torch.float32, **SHARED), inner])


def test_an_update_that_is_not_finite_changes_nothing_and_is_decided_on_the_device():
    parameters, bias = matrices(), nn.Parameter(torch.ones(3))
    optimizer = on_device(parameters, bias)
    everything = [*parameters, bias]
    for parameter in everything:
        parameter.grad = torch.randn(parameter.shape)
    update_where(optimizer, torch.tensor(True), torch.tensor(2.0))
    before = copy.deepcopy((everything, optimizer.state_dict()["state"]))
    for parameter in everything:
        parameter.grad = torch.full_like(parameter, float("nan"))
    update_where(optimizer, torch.tensor(False), torch.tensor(float("nan")))
    assert all(torch.equal(one, other) for one, other in zip(everything, before[0], strict=True))
    after = optimizer.state_dict()["state"]
    assert all(
        torch.equal(value, after[number][name]) for number, each in before[1].items() for name, value in each.items()
    )
    assert not hasattr(optimizer, "found_inf")


def test_gradients_are_divided_before_the_update():
    updated = []
    for divisor in (1.0, 4.0):
        parameters, bias = matrices(), nn.Parameter(torch.ones(3))
        torch.manual_seed(1)
        for parameter in (*parameters, bias):
            parameter.grad = divisor * torch.randn(parameter.shape)
        update_where(on_device(parameters, bias), torch.tensor(True), torch.tensor(divisor))
        updated.append([*parameters, bias])
    for one, other in zip(*updated, strict=True):
        torch.testing.assert_close(one, other)
