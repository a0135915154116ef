"""Guidances that break one promise each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from faults import Nothing, fault, keep, shown_plugin
from torch import Tensor

from dit_run.protocols import Guidance, GuidedStep
from dit_run.registry.components import Component, Kind
from dit_run.testing import ContractError, check_guidance, check_plugin

KIND = Kind.GUIDANCE


def plain(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    return caption + (step.scale - 1) * (caption - weaker)


def by_neighbours(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    return plain(caption, weaker, step) + (step.scale - 1) * (caption - weaker).mean(0, keepdim=True)


def in_place(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    return caption.sub_(weaker).mul_(step.scale - 1).add_(weaker)


SHARED: list[int] = []


def counting(caption: Tensor, weaker: Tensor, step: GuidedStep) -> Tensor:
    SHARED.append(0)
    return caption + (step.scale - 1) * (caption - weaker) * len(SHARED)


def test_classifier_free_guidance_keeps_the_contract() -> None:
    keep(KIND, lambda options: plain)


def test_no_function() -> None:
    assert fault(KIND, lambda options: 3) == ("the factory returned int; return a function of caption, weaker and step")


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (lambda caption, weaker, step: 3, "the guided output: return a tensor [3, 4, 8, 8], not int"),
        (lambda caption, weaker, step: caption[:1], "the guided output: return [3, 4, 8, 8] torch.float32, not "),
        (lambda caption, weaker, step: caption * torch.nan, "the guided output: some values are not finite"),
        (in_place, "it changes the predictions that it is given; return another tensor"),
        (lambda caption, weaker, step: weaker * step.scale, "at scale 1 the output is 4.34 away from the prediction "),
        (lambda caption, weaker, step: caption.clone(), "scales 2 and 6 give the same output; use step.scale"),
        (lambda caption, weaker, step: caption * step.scale, "two equal predictions give an output that is "),
        (counting, "the same calls give other outputs; keep what the next call needs in step.memory, and use no "),
        (by_neighbours, "an image alone gets an output that is "),
    ],
)
def test_a_broken_promise_is_named(guidance: Guidance, message: str) -> None:
    assert fault(KIND, lambda options: guidance).startswith(message)


def test_an_unknown_weaker_prediction_is_named() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Away(Nothing):
        """Guidance away from nothing that the core can make."""

        weaker = "blurred"

    with pytest.raises(ContractError, match="the attribute weaker of the options is 'blurred'; let it be 'empty', or"):
        check_guidance(Component(KIND, "away", Away, lambda options: plain))


def test_the_plugin_of_the_manual_has_25_lines_and_keeps_the_contract(tmp_path: Path) -> None:
    test = 'check_guidance(Path("limited.py"), most=0.5)'
    path = shown_plugin("docs/guidance.md", test, tmp_path / "limited.py")
    check_guidance(path, most=0.5)
    check_plugin(path)
