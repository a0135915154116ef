"""Optimizers of optional packages: stopped and continued, they learn the bytes of an uninterrupted run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import Command, Run, Train, stopping

STOPPED = stopping(4)
OPTIMIZERS = {
    "schedulefree": ("optimizer.type=schedule_free_adamw",),
    "prodigyopt": ("optimizer.type=prodigy", "training.learning_rate=1.0"),
    "torch": ("optimizer={type: torch, name: NAdam, arguments: {decoupled_weight_decay: true}, weight_decay: 0.1}",),
    "bitsandbytes": ("optimizer={type: adamw_8bit, min_8bit_size: 16}",),
}


@pytest.mark.slow
@pytest.mark.parametrize("package", list(OPTIMIZERS))
def test_stopped_and_continued_it_learns_the_same_bytes(
    train: Train, command: Command, config: Path, package: str
) -> None:
    pytest.importorskip(package)
    words = OPTIMIZERS[package]
    whole = train(*words, output="whole")
    assert command(config, *words, *STOPPED).status == 143
    assert command(config, *words, *STOPPED).status == 0
    assert Run(Path("run")).learnt() == whole.learnt()
    for name in ("loss", "validation/loss", "validation/loss_ema"):
        assert Run(Path("run")).values(name) == whole.values(name)


def test_schedule_free_saves_the_weights_that_it_evaluates(train: Train) -> None:
    """x = y + (1 - 1/beta1) (z - y): the average in terms of the weights that train and those of the base optimizer."""
    pytest.importorskip("schedulefree")
    run = train("optimizer.type=schedule_free_adamw", "training.use_ema=false")
    saved, optimizer = run.tensors("model")["condition.first.weight"], run.tensors("optimizer")
    trained = optimizer["train_weights/model.condition.first.weight"]
    bases = [value for name, value in optimizer.items() if name.endswith("/z") and value.shape == saved.shape]
    assert any(torch.equal(saved, trained.lerp(base, 1 - 1 / 0.9)) for base in bases)
    assert not torch.equal(saved, trained)


@pytest.mark.slow
def test_saving_and_watching_change_nothing_of_what_schedule_free_learns(train: Train) -> None:
    pytest.importorskip("schedulefree")
    quiet = ("optimizer.type=schedule_free_adamw", "training.save_steps=6", "validation.every_n_steps=null")
    often = (quiet[0], "training.save_steps=1", "validation.every_n_steps=1", "sampling.every_n_steps=2")
    assert train(*often, output="often").learnt() == train(*quiet, output="quiet").learnt()


@pytest.mark.parametrize(
    ("word", "key", "help_"),
    [
        ("training.use_ema=true", "training.use_ema is true", "set training.use_ema: false"),
        ("averages=[{type: power}]", "averages lists some", "remove averages"),
    ],
)
def test_schedule_free_reports_an_average_of_an_average(
    command: Command, config: Path, word: str, key: str, help_: str
) -> None:
    result = command("validate", config, "optimizer.type=schedule_free_adamw", word)
    assert result.status == 0
    reason = "but the weights that schedule_free_adamw evaluates are an average already; averaging them again takes"
    assert f"{key}, {reason} time in each step" in result.words
    assert help_ in result.words


@pytest.mark.parametrize("kind", ["cosine", "linear", "warmup_stable_decay"])
def test_schedule_free_refuses_a_rate_that_decays(command: Command, config: Path, kind: str) -> None:
    result = command("validate", config, "optimizer.type=schedule_free_adamw", f"lr_scheduler={{type: {kind}}}")
    assert result.status == 2
    assert (
        "optimizer.type is schedule_free_adamw, which averages weights in place of a decay of the learning rate, but "
        f"lr_scheduler.type is {kind}, which decays it"
    ) in result.words
    assert "set lr_scheduler: {type: constant, warmup: 0.05}, whose warm-up stays" in result.words


def test_prodigy_takes_its_learning_rate_as_a_factor(command: Command, config: Path) -> None:
    assert "its authors advise 1.0" in command("validate", config, "optimizer.type=prodigy").words
    one = command("validate", config, "optimizer.type=prodigy", "training.learning_rate=1.0")
    assert (one.status, "advise" in one.words) == (0, False)
    config.write_text(config.read_text().replace("  learning_rate: 0.02\n", ""))
    words = command("validate", config, "optimizer.type=prodigy").words
    assert "training.learning_rate is 1.0 instead of its default 0.0001" in words


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("schedule_free_adamw", "schedulefree", "schedule_free"),
        ("prodigy", "prodigyopt", "prodigy"),
        ("adamw_8bit", "bitsandbytes", "adamw_8bit"),
    ],
)
def test_without_its_package_an_optimizer_says_how_to_install_it(
    command: Command, config: Path, kind: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    result = command(config, f"optimizer.type={kind}")
    assert result.status == 2
    assert f"optimizer: type {kind} needs the package {package}, which cannot be imported" in result.words
    assert f"pip install 'dit-run[{extra}]'" in result.words
