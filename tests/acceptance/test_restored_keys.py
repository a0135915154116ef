"""Keys that did nothing in the system whose configs this one reads: each does what it says."""

from __future__ import annotations

from math import cos, pi
from pathlib import Path

import pytest
import torch
from builders import tiny_clip
from runs import Command, Train


@pytest.mark.slow
def test_train_split_holds_samples_out(train: Train) -> None:
    whole = ("training.max_steps=null", "training.num_epochs=1", "training.use_ema=false")
    all_, half = (
        train("data.train_split=1.0", *whole, output="all"),
        train("data.train_split=0.5", *whole, output="half"),
    )
    assert len(all_.metrics) == 15
    assert 5 <= len(half.metrics) <= 10
    assert not all_.values("validation/loss")
    assert half.values("validation/loss")


def test_a_written_attention_head_dim_must_agree(command: Command, config: Path) -> None:
    assert command(config, "model.attention_head_dim=8", "training.max_steps=1").status == 0
    result = command(config, "model.attention_head_dim=64", "--fresh", "second")
    assert result.status == 2
    assert "model.attention_head_dim 64 is not model.hidden_size 16 / model.num_heads 2 = 8" in result.words
    for line in ("hidden_size: 16", "num_heads: 2", "model.attention_head_dim=64"):
        assert line in result.words
    assert not Path("second").exists()


def test_seed_decides_weights_and_data(train: Train) -> None:
    short = ("training.max_steps=1", "training.learning_rate=1.0e-30")
    one, other = (train(*short, f"training.seed={seed}", output=f"seed-{seed}") for seed in (1, 2))
    assert one.values("loss") != other.values("loss")
    weights = [run.tensors() for run in (one, other)]
    name = next(name for name, value in weights[0].items() if value.std() > 0)
    assert not torch.equal(weights[0][name], weights[1][name])


@pytest.mark.slow
def test_gradient_accumulation_steps_make_one_batch_of_several(train: Train) -> None:
    still = ("model.dropout=0.0", "training.learning_rate=0.001")
    whole = train(*still, "training.batch_size=4")
    split = train(*still, "training.batch_size=2", "training.gradient_accumulation_steps=2", output="split")
    halved = train(*still, "training.batch_size=2", output="halved")
    assert split.values("loss") == pytest.approx(whole.values("loss"), rel=1e-5)
    assert split.values("grad_norm") == pytest.approx(whole.values("grad_norm"), rel=1e-4)
    assert split.values("epoch") == whole.values("epoch")
    assert halved.values("loss")[0] != pytest.approx(whole.values("loss")[0], rel=1e-3)


def test_prediction_type_decides_what_is_learnt(train: Train) -> None:
    short = ("training.max_steps=1", "scheduler.type=ddpm", "training.batch_size=16")
    noise, velocity = (
        train(*short, f"scheduler.prediction_type={name}", output=name) for name in ("epsilon", "v_prediction")
    )
    assert noise.values("loss") == [pytest.approx(1.0, abs=0.05)]
    assert abs(velocity.values("loss")[0] - 1.0) > 0.05


@pytest.mark.slow
def test_optimizer_type_decides_the_update(train: Train) -> None:
    short = ("training.max_steps=3", "training.use_ema=false")
    adamw, muon = (train(*short, f"optimizer.type={name}", output=name) for name in ("adamw", "muon"))
    assert adamw.values("loss")[0] == muon.values("loss")[0]
    assert adamw.values("loss")[2] != muon.values("loss")[2]
    states = [{name.rsplit("/", 1)[-1] for name in run.tensors("optimizer")} for run in (adamw, muon)]
    assert "exp_avg_sq" in states[0]
    assert states[0] != states[1]


@pytest.mark.slow
def test_lr_scheduler_type_and_warmup_steps_decide_every_rate(train: Train) -> None:
    steps = range(8)
    run = train("training.max_steps=8", "lr_scheduler.type=cosine", "lr_scheduler.warmup_steps=3", output="cosine")
    cosine = [s / 3 if s < 3 else (1 + cos(pi * (s - 3) / 5)) / 2 for s in steps]
    assert run.values("learning_rate") == pytest.approx([0.02 * factor for factor in cosine])
    run = train("training.max_steps=8", "lr_scheduler.type=constant", "lr_scheduler.warmup_steps=2", output="constant")
    assert run.values("learning_rate") == pytest.approx([0.02 * min(1, s / 2) for s in steps])


def test_the_rate_that_is_logged_is_the_one_that_is_used(train: Train) -> None:
    run = train("lr_scheduler.warmup_steps=2", "training.save_steps=1", "training.max_steps=3", "training.ema_warmup=0")
    assert run.values("learning_rate")[0] == 0
    unmoved, moved = (
        all(torch.equal(run.tensors("ema", step)[n], v) for n, v in run.tensors(step=step).items()) for step in (1, 2)
    )
    assert unmoved
    assert not moved


@pytest.mark.slow
@pytest.mark.parametrize("width", [512, 768])
def test_the_text_encoder_may_be_as_wide_as_it_likes(train: Train, tmp_path: Path, width: int) -> None:
    folder = tiny_clip(tmp_path / "clip", width=width, layers=1)
    run = train(
        "text_encoder.type=clip", f"text_encoder.pretrained_model_name={folder}", "training.max_steps=1",
        "validation.every_n_steps=null",
    )  # fmt: skip
    assert any(width in value.shape for value in run.tensors().values())
    assert not any(name.startswith("text_encoder.") for name in run.tensors())
