"""Memory of a step that is done with fake tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import tiny_dinov2
from tiny_parts import CONFIG, CPU

from dit_run import load_config
from dit_run.assembly.parts import build_encoders
from dit_run.planning.memory_estimate import Ledger, StepMemory, estimate_step
from dit_run.planning.split_estimate import EstimatedSplit, SplitEstimate, estimate_splits


def estimated(folder: Path, *overrides: str, size: int = 4, accumulates: bool = False) -> StepMemory:
    path = folder / "tiny.yaml"
    path.write_text(CONFIG)
    config = load_config(path, "training.device=cpu", *overrides)
    return estimate_step(config, build_encoders(config, CPU), batch_size=size, accumulates=accumulates)


def test_what_stays_between_steps_is_weights_moments_and_averages(tmp_path: Path) -> None:
    adam, averaged = estimated(tmp_path), estimated(tmp_path, "training.use_ema=true")
    muon = estimated(tmp_path, "optimizer.type=muon")
    weights = 4 * adam.parameters
    assert adam.held == pytest.approx(3 * weights, rel=0.5)  # blocks of 512 bytes are much for tensors so small
    assert averaged.held - adam.held >= weights
    assert muon.held < adam.held  # one moment for matrices


def test_weights_that_are_frozen_have_no_averages(tmp_path: Path) -> None:
    """They are their own average: an average takes the memory of a weight that trains, not of all."""
    frozen = 'training.freeze=["blocks.*"]'
    plain, averaged = (estimated(tmp_path, frozen, f"training.use_ema={word}") for word in ("false", "true"))
    all_weights = 4 * estimated(tmp_path).parameters
    assert averaged.parameters < estimated(tmp_path).parameters
    assert 4 * averaged.parameters <= averaged.held - plain.held < all_weights


def test_memory_grows_with_the_batch_and_with_gradients_that_are_kept(tmp_path: Path) -> None:
    one, two, three = (estimated(tmp_path, size=64 * size).tensors for size in (1, 2, 3))
    assert three - two == pytest.approx(two - one, rel=0.02)
    assert estimated(tmp_path, size=64, accumulates=True).tensors > one


def test_checkpointing_takes_less(tmp_path: Path) -> None:
    deep = "model.num_layers=4"
    kept = estimated(tmp_path, deep, size=64)
    assert estimated(tmp_path, deep, "model.gradient_checkpointing=true", size=64).tensors < 0.7 * kept.tensors


def test_half_precision_takes_less(tmp_path: Path) -> None:
    assert estimated(tmp_path, "training.mixed_precision=bf16", size=64).tensors < estimated(tmp_path, size=64).tensors


def test_what_objectives_train_and_call_takes_memory(tmp_path: Path) -> None:
    network = f"pretrained_model_name: {tiny_dinov2(tmp_path / 'dino')}"

    def with_objective(second: str) -> StepMemory:
        listed = f"objective=[{{type: denoising}}, {{{second}, {network}, start: 0.5}}]"
        return estimated(tmp_path, listed, "scheduler.prediction_type=sample")

    plain = estimated(tmp_path, "scheduler.prediction_type=sample")
    narrow, wide = (with_objective(f"type: repa, projector_width: {width}") for width in (128, 256))
    trained = wide.parameters - narrow.parameters
    assert trained == (16 + 16) * 128 + 256**2 - 128**2 + 2 * 128
    assert wide.held - narrow.held == 3 * 4 * trained
    perceptual = with_objective("type: perceptual")
    assert (perceptual.parameters, perceptual.tensors > plain.tensors) == (plain.parameters, True)


def test_the_ledger_counts_memory_while_it_is_used() -> None:
    with Ledger() as ledger:
        first = torch.empty(1000)
        second = torch.empty(256)
        assert ledger.live == 4096 + 1024
        view = first[10:]
        del first
        assert ledger.live == 4096 + 1024
        del view, second
    assert (ledger.live, ledger.peak) == (0, 4096 + 1024)


def test_the_splits_of_a_config_are_estimated(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    estimate = estimate_splits(load_config(path, "training.gradient_accumulation_steps=3"))
    assert [(split.batch_size, split.accumulation) for split in estimate.splits] == [
        (12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12),
    ]  # fmt: skip
    peaks = [split.peak for split in estimate.splits]
    assert estimate.own is estimate.splits[2]
    assert peaks[1:] == sorted(peaks[1:], reverse=True)


@pytest.mark.parametrize(("memory", "size"), [(1000, 4), (120, 2), (60, None)])
def test_the_own_split_is_proposed_if_it_fits_else_the_largest(memory: float, size: int | None) -> None:
    splits = [EstimatedSplit(8 // n, n, 100.0 * 8 / n / 2) for n in (1, 2, 4)]
    proposal = SplitEstimate(1, splits, splits[1]).proposal(memory)
    assert (proposal and proposal.batch_size) == size
