"""training.freeze and training.learning_rate_factors, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forks import Forks
from runs import Command, Run, Train, stopped_on_two_processes, stopping

STOPPED = stopping(4)
FROZEN = ("training.freeze=['blocks.*.mlp', text_encoder]", "training.learning_rate_factors={'blocks.*.cross_*': 0.2}")


def test_frozen_parameters_stay_as_they_were_and_are_in_the_checkpoint(train: Train) -> None:
    run = train(*FROZEN, "training.save_steps=1", "training.save_total_limit=null")
    first, last = run.tensors("model", 1), run.tensors("model", 6)
    held = {name for name, value in first.items() if torch.equal(value, last[name])}
    frozen = {name for name in first if name.startswith(("blocks.0.mlp", "text_encoder."))}
    assert frozen <= held
    assert not any(name.startswith("blocks.") and ".mlp" not in name for name in held)
    assert all(torch.equal(run.tensors("ema")[name], first[name]) for name in frozen)


def test_the_start_says_how_many_parameters_train(command: Command, config: Path) -> None:
    said = command(config, *FROZEN).words
    tensors = Run(Path("run")).tensors()
    everything = sum(value.numel() for value in tensors.values())
    frozen = sum(value.numel() for name, value in tensors.items() if name.startswith(("blocks.0.mlp", "text_encoder.")))
    assert f"{everything - frozen:,} of {everything:,} parameters train on cpu" in said


@pytest.mark.slow
def test_stopped_and_continued_with_frozen_parameters_it_learns_the_same_bytes(
    train: Train, command: Command, config: Path
) -> None:
    whole = train(*FROZEN, output="whole")
    assert command(config, *FROZEN, *STOPPED).status == 143
    assert command(config, *FROZEN, *STOPPED).status == 0
    assert Run(Path("run")).learnt() == whole.learnt()


def test_other_frozen_parameters_do_not_continue_a_run(command: Command, config: Path) -> None:
    assert command(config, *FROZEN, *STOPPED).status == 143
    said = command(config, *FROZEN, *STOPPED, "training.freeze=[blocks]", "training.learning_rate_factors={input: 0.2}")
    assert said.status == 2
    assert "training.freeze: ['blocks.*.mlp', 'text_encoder'] -> ['blocks']" in said.words
    assert "training.learning_rate_factors" in said.words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.freeze=[block.0]", "training.freeze: 'block.0' matches no parameter; similar names: blocks"),
        ("training.freeze=['*']", "training.freeze names all parameters, so that nothing is left to train"),
        (
            "training.learning_rate_factors={'blocks.*.mlq': 0.1}",
            "training.learning_rate_factors: 'blocks.*.mlq' matches no parameter that trains; similar names: blocks",
        ),
    ],
)
def test_patterns_without_a_meaning_are_refused_before_the_first_step(
    command: Command, config: Path, change: str, message: str
) -> None:
    for name in ("train", "check"):
        said = command(name, config, change)
        assert (said.status, message in said.words) == (2, True), said.words
    assert not Path("run").exists()


@pytest.mark.slow
def test_frozen_parameters_train_on_two_processes(config: Path, forks: Forks) -> None:
    whole, run = stopped_on_two_processes(forks, (config, *FROZEN, "training.batch_size=2"), 4)
    assert run.learnt() == whole.learnt()
