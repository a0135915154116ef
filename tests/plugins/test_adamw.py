"""adamw: torch's own AdamW, with weight decay where it belongs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dit_run_plugins.optimizers.adamw import AdamW, build

ROLES = {"w": "matrix", "edge": "edge", "table": "embedding", "scale": "norm", "bias": "bias", "query": "other"}
CPU = torch.device("cpu")


def parameters() -> list[tuple[str, nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    return [(name, nn.Parameter(torch.randn(3, 4, generator=generator))) for name in ROLES]


def make(named: list[tuple[str, nn.Parameter]], options: AdamW, **changes: Any) -> torch.optim.Optimizer:
    return build(options, **{"named_parameters": named, "roles": ROLES, "learning_rate": 0.1, "device": CPU, **changes})


def step(named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in named:
        parameter.grad = torch.randn(3, 4, generator=generator)
    optimizer.step()


def test_only_layer_weights_decay() -> None:
    named = parameters()
    optimizer = make(named, AdamW(weight_decay=0.5))
    before = {name: parameter.detach().clone() for name, parameter in named}
    for _, parameter in named:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in named:
        kept = 1 - 0.1 * 0.5 if name in ("w", "edge") else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def test_the_first_step_is_the_formula() -> None:
    """Both running means are the gradient's own after bias correction: lr · g / (|g| + eps)."""
    named = parameters()[:1]
    before = named[0][1].detach().clone()
    optimizer = make(named, AdamW(weight_decay=0.0, eps=0.5))
    named[0][1].grad = torch.full((3, 4), 2.0)
    optimizer.step()
    torch.testing.assert_close(named[0][1].detach(), before - 0.1 * 2.0 / 2.5)


def test_betas_and_learning_rate_are_the_options() -> None:
    optimizer = make(parameters(), AdamW(betas=(0.8, 0.95)), learning_rate=3e-4)
    assert [(group["betas"], group["lr"]) for group in optimizer.param_groups] == [((0.8, 0.95), 3e-4)] * 2


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("meta", False)])
def test_it_is_fused_where_the_device_has_it(device: str, fused: bool) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    named = [(name, nn.Parameter(parameter.to(device))) for name, parameter in parameters()]
    assert make(named, AdamW(), device=torch.device(device)).defaults["fused"] is fused


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(make(parameters()[:2], AdamW()).param_groups) == 1


def test_it_continues_bit_for_bit_from_its_state() -> None:
    named, others = parameters(), parameters()
    first, second = make(named, AdamW()), make(others, AdamW())
    for seed in range(3):
        step(named, first, seed)
    with torch.no_grad():
        for (_, target), (_, source) in zip(others, named, strict=True):
            target.copy_(source)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    step(named, first, 9)
    step(others, second, 9)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(named, others, strict=True))
