"""Objectives of a config: names, steps, and the weights that they train."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import CPU, Parts, assembled

from dit_run.assembly.objectives import build_objectives
from dit_run.assembly.optimization import build_optimizer
from dit_run.assembly.parts import build_denoiser
from dit_run.model.average_profiles import ema_share
from dit_run.model.denoiser import Denoiser, parameter_roles, trainable_parameters
from dit_run.problems import InputError
from dit_run.registry.factories import PluginFault
from dit_run.training.average import Average

SEVERAL = (
    "objective=[{type: denoising}, {type: contrastive, weight: 0.5, until: 0.4}, {type: contrastive, start: 0.75}]"
)


def test_each_has_its_name_weight_and_steps(tmp_path: Path) -> None:
    parts = assembled(tmp_path, SEVERAL)
    found = build_objectives(parts.config, parts.denoiser, CPU, total_steps=10)
    assert [(each.name, each.weight, each.start, each.end) for each in found] == [
        ("denoising", 1.0, 0, float("inf")),
        ("contrastive", 0.5, 0, 4),
        ("contrastive_2", 1.0, 8, float("inf")),
    ]
    assert not parts.denoiser.tensors().keys() & {"objective"}
    assert parts.denoiser.objective is None


def test_one_objective_logs_no_second_loss(parts: Parts) -> None:
    (alone,) = build_objectives(parts.config, build_denoiser(parts.config, parts.encoders, CPU), CPU, total_steps=1)
    assert alone.logged == ()


HEAD = '''
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl
from dit_run.protocols import ObjectiveLoss


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head on the output."""


def build(options, *, device):
    from torch import nn

    class HeadLoss:
        trained = TRAINED

        def __call__(self, batch, predict):
            output = self.trained(predict().output)
            return ObjectiveLoss((output - batch.latents).square().mean((1, 2, 3)))

    return HeadLoss()


@hookimpl
def dit_run_components():
    return [Component(Kind.OBJECTIVE, "head", Head, build)]
'''


def headed(folder: Path, trained: str = "nn.Conv2d(3, 3, 1)") -> Parts:
    """The parts of a run with an objective that trains a head."""
    (folder / "head.py").write_text(HEAD.replace("TRAINED", trained))
    return assembled(folder, f"plugins=[{folder / 'head.py'}]", "objective=[{type: denoising}, {type: head}]")


def built(parts: Parts) -> tuple[Denoiser, Any]:
    denoiser = build_denoiser(parts.config, parts.encoders, CPU)
    return denoiser, build_objectives(parts.config, denoiser, CPU, total_steps=6)


def test_what_an_objective_trains_is_optimised_averaged_and_saved(tmp_path: Path) -> None:
    parts = headed(tmp_path)
    denoiser, objectives = built(parts)
    names = {"objective.head.weight", "objective.head.bias"}
    assert names <= denoiser.tensors().keys()
    assert names <= dict(trainable_parameters(denoiser)).keys()
    assert {name: parameter_roles(denoiser)[name] for name in names} == {
        "objective.head.weight": "edge",
        "objective.head.bias": "bias",
    }
    optimizer = build_optimizer(parts.config, denoiser, CPU)
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert {id(each) for each in objectives[1].objective.trained.parameters()} <= held
    average = Average(denoiser, partial(ema_share, decay=0.5, power=0.0))
    with torch.no_grad():
        denoiser.objective.head.weight.add_(1)  # type: ignore[union-attr, operator]
    average.update(0)
    difference = denoiser.objective.head.weight - average.module.objective.head.weight  # type: ignore[union-attr, operator]
    torch.testing.assert_close(difference, torch.full_like(difference, 0.5))


def test_its_first_weights_follow_from_the_seed(tmp_path: Path) -> None:
    parts = headed(tmp_path)
    first, second = (built(parts)[0].tensors()["objective.head.weight"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_model_for_sampling_takes_a_checkpoint_without_them(tmp_path: Path) -> None:
    parts = headed(tmp_path)
    saved = built(parts)[0].tensors()
    plain = build_denoiser(parts.config, parts.encoders, CPU)
    plain.load_tensors(saved, where="here")
    assert torch.equal(plain.tensors()["output.weight"], saved["output.weight"])
    without = {name: value for name, value in saved.items() if not name.startswith("objective.")}
    with pytest.raises(InputError, match=r"objective\.head\.bias is missing"):
        built(parts)[0].load_tensors(without, where="here")


def test_a_second_timestep_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    (tmp_path / "between.py").write_text(
        HEAD.replace("class HeadLoss:", "class HeadLoss:\n        second_time = True").replace("TRAINED", "None")
    )
    words = (f"plugins=[{tmp_path / 'between.py'}]", "objective={type: head}")
    with pytest.raises(InputError, match="objective head gives the model a second timestep, and model dit takes none"):
        built(assembled(tmp_path, *words))
    built(assembled(tmp_path, *words, "model.second_time=true"))


def test_what_it_trains_must_be_a_module(tmp_path: Path) -> None:
    with pytest.raises(PluginFault, match="objective head has the attribute trained of type list"):
        built(headed(tmp_path, "[nn.Linear(1, 1)]"))
