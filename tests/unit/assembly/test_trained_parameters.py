"""Which parameters train, and the factors on their learning rates, with every optimizer."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import CPU, assembled
from torch import Tensor, nn

from dit_run import Kind
from dit_run.assembly.optimization import build_optimizer
from dit_run.assembly.rate_groups import RateGroups
from dit_run.assembly.trained_parameters import freeze
from dit_run.model.average_profiles import ema_share
from dit_run.model.denoiser import Denoiser, checkpoint_name, trainable_parameters
from dit_run.problems import InputError
from dit_run.registry.registry import discover
from dit_run.runs.checkpoint.optimizer_state import join_state, split_state
from dit_run.training.average import Average
from dit_run.training.evaluation_weights import EvaluationWeights, start_training
from dit_run.training.step import update_where

PACKAGES = {"adamw_8bit": "bitsandbytes", "prodigy": "prodigyopt", "schedule_free_adamw": "schedulefree"}
OPTIMIZERS = sorted(discover(third_party=False).components(Kind.OPTIMIZER))
FACTORS = ("training.learning_rate_factors={blocks.0: 0.1, 'blocks.*.mlp': 0.5}", "training.learning_rate=0.01")


def parts_of(folder: Path, optimizer: str, *overrides: str) -> Any:
    if optimizer in PACKAGES:
        pytest.importorskip(PACKAGES[optimizer])
    chosen = "{type: torch, name: NAdam}" if optimizer == "torch" else f"{{type: {optimizer}}}"
    return assembled(folder, f"optimizer={chosen}", "lr_scheduler.type=constant", *overrides)


def trained(denoiser: Denoiser) -> set[str]:
    return {name for name, _ in trainable_parameters(denoiser)}


def test_frozen_parameters_take_no_gradient_and_have_no_place_in_the_optimizer(tmp_path: Path) -> None:
    parts = assembled(tmp_path, "training.freeze=['blocks.*.mlp', text_encoder]")
    left = trained(parts.denoiser)
    assert {name for name, _ in parts.denoiser.named_parameters()} - left == {
        "model.blocks.0.mlp.gate_up.weight",
        "model.blocks.0.mlp.down.weight",
        *(f"text_encoder.{name}" for name, _ in parts.denoiser.text_encoder.named_parameters()),
    }
    groups = build_optimizer(parts.config, parts.denoiser, CPU).param_groups
    assert sum(len(group["params"]) for group in groups) == len(left)


@pytest.mark.parametrize(("pattern", "near"), [("block.0", "blocks"), ("encoder", "text_encoder")])
def test_a_pattern_that_names_nothing_is_refused_with_similar_names(tmp_path: Path, pattern: str, near: str) -> None:
    with pytest.raises(
        InputError, match=rf"training\.freeze: '{pattern}' matches no parameter; similar names: .*{near}"
    ):
        assembled(tmp_path, f"training.freeze=[{pattern}]")


def test_nothing_left_to_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.freeze names all parameters, so that nothing is left to train"):
        assembled(tmp_path, "training.freeze=['*']")


def test_a_factor_of_a_frozen_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'blocks\.0' matches no parameter that trains"):
        assembled(tmp_path, "training.freeze=[blocks]", "training.learning_rate_factors={blocks.0: 0.5}")


def test_peak_rates_are_products_of_factors_and_the_first_group_has_the_plain_one(tmp_path: Path) -> None:
    parts = assembled(tmp_path, *FACTORS)
    optimizer = build_optimizer(parts.config, parts.denoiser, CPU)
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in parts.denoiser.named_parameters():
        factor = 0.1 * 0.5 if "model.blocks.0.mlp." in name else 0.1 if "model.blocks.0." in name else 1.0
        assert rates[id(parameter)] == pytest.approx(0.01 * factor)
    assert optimizer.param_groups[0]["lr"] == 0.01


def test_a_single_factor_needs_a_single_optimizer(tmp_path: Path) -> None:
    parts = assembled(tmp_path, "training.learning_rate_factors={'*': 0.5}", "training.learning_rate=0.01")
    optimizer = build_optimizer(parts.config, parts.denoiser, CPU)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["lr"] for group in optimizer.param_groups} == {0.005}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_with_factors_every_optimizer_trains_and_continues_bit_for_bit(tmp_path: Path, kind: str) -> None:
    parts = parts_of(tmp_path, kind, *FACTORS)
    denoiser, optimizer = parts.denoiser, build_optimizer(parts.config, parts.denoiser, CPU)
    assert isinstance(optimizer, RateGroups)
    start_training(optimizer)
    steps(denoiser, optimizer, 0, 2)
    evaluation = EvaluationWeights(denoiser, optimizer)
    with evaluation.shown():
        tensors, skeleton = split_state(optimizer.state_dict())
        tensors = {name: value.clone() for name, value in tensors.items()}
        other, kept = copy.deepcopy(denoiser), evaluation.kept
    continued = build_optimizer(parts.config, other, CPU)
    continued.load_state_dict(join_state(tensors, skeleton, where="a copy"))
    EvaluationWeights(other, continued).restore(kept)
    before = {name: value.clone() for name, value in denoiser.tensors().items()}
    steps(denoiser, optimizer, 2, 4)
    steps(other, continued, 2, 4)
    for name, value in denoiser.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name
    assert any(not torch.equal(value, denoiser.tensors()[name]) for name, value in before.items())


def steps(denoiser: nn.Module, optimizer: torch.optim.Optimizer, first: int, end: int) -> None:
    """Steps on gradients that follow from the step alone, at the rates that the core sets before each."""
    for step in range(first, end):
        generator = torch.Generator().manual_seed(step)
        for parameter in denoiser.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (0.5 if step == 3 else 1.0)
        optimizer.step()


class Unread(Tensor):
    """A flag on a device, for which the host would wait if it asked."""

    def __bool__(self) -> bool:
        raise AssertionError("the host reads the flag")


def test_with_factors_an_update_is_skipped_without_a_wait_for_the_device(tmp_path: Path) -> None:
    parts = assembled(tmp_path, *FACTORS)
    optimizer = build_optimizer(parts.config, parts.denoiser, CPU)
    steps(parts.denoiser, optimizer, 0, 1)
    before = copy.deepcopy(parts.denoiser.tensors())
    for finite in (False, True):
        update_where(optimizer, torch.tensor(finite).as_subclass(Unread), torch.tensor(2.0))
        changed = {name for name, value in parts.denoiser.tensors().items() if not torch.equal(value, before[name])}
        assert changed == (trained_names(parts.denoiser) if finite else set())


def trained_names(denoiser: Denoiser) -> set[str]:
    return {checkpoint_name(name) for name in trained(denoiser)}


def test_a_state_of_other_factors_is_refused(tmp_path: Path) -> None:
    parts = assembled(tmp_path, *FACTORS)
    state = build_optimizer(parts.config, parts.denoiser, CPU).state_dict()
    other = assembled(tmp_path, "training.learning_rate_factors={blocks.0: 0.3}")
    with pytest.raises(ValueError, match=r"no state for the learning rate factors 1\.0, 0\.3"):
        build_optimizer(other.config, other.denoiser, CPU).load_state_dict(state)


def test_averages_share_frozen_weights_and_follow_the_others(tmp_path: Path) -> None:
    denoiser = assembled(tmp_path).denoiser
    freeze(denoiser, ("blocks",))
    ema = Average(denoiser, partial(ema_share, decay=0.5, power=0))
    before = copy.deepcopy(denoiser)
    with torch.no_grad():
        for _, parameter in trainable_parameters(denoiser):
            parameter.add_(1.0)
    ema.update(0)
    for (name, live), average, was in zip(
        denoiser.named_parameters(), ema.module.parameters(), before.parameters(), strict=True
    ):
        assert (average is live) == name.startswith("model.blocks."), name
        expected: Tensor = was if average is live else was + 0.5
        assert torch.allclose(average, expected, atol=1e-6), name
