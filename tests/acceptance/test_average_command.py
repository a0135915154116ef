"""`dit-run average`: an average of any length from the averages in checkpoints, and images by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from runs import CONFIG, Command, Run, Train
from safetensors.torch import load_file

from dit_run import load_run
from dit_run.model.average_profiles import power_profile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained run with a checkpoint of each step; only averages may be added."""
    from dit_run.cli.main import main

    folder = tmp_path_factory.mktemp("averaged")
    (folder / "tiny.yaml").write_text(CONFIG)
    changes = ("training={save_steps: 1, save_total_limit: null, ema_decay: 0.9999}", "validation.every_n_steps=null")
    assert main([str(folder / "tiny.yaml"), f"training.output_dir={folder / 'run'}", *changes]) == 0
    return Run(folder / "run")


def test_it_is_the_average_of_the_weights_of_all_steps(run: Run, command: Command) -> None:
    made = run.path / "averages" / "length-0.15.safetensors"
    result = command("average", run.path, "--length", "0.15")
    assert (result.status, result.err) == (0, "")
    assert result.words == f"{made} from 6 checkpoints up to step 6, reconstruction error 0.00%"
    live = [load_file(path / "model.safetensors") for path in sorted((run.path / "checkpoints").iterdir())]
    shares = power_profile(0.15, 6)
    assert shares[0] == 0  # of the initial weights
    found = load_file(made)
    assert list(found) == list(live[0])
    for name, value in found.items():
        direct = sum(share * each[name].double() for share, each in zip(shares[1:], live, strict=True))
        assert (value - direct).norm() <= 1e-3 * torch.as_tensor(direct).norm()


def test_images_by_it(run: Run, command: Command, tmp_path: Path) -> None:
    assert command("average", run.path, "--length", "0.25", "--checkpoint", "5", "--name", "long").status == 0
    loaded = load_run(run.path, average="long")
    assert (loaded.checkpoint.name, loaded.step, loaded.ema) == ("long.safetensors", 5, True)
    assert command("sample", run.path, "a cross", "--average", "long", "--output", tmp_path / "images").status == 0
    own, kept = (np.asarray(each.sample("a cross")[0]) for each in (loaded, load_run(run.path)))
    assert not np.array_equal(own, kept)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("average", "--length", "0.3"), "--length must be above 0 and at most 0.28, not 0.3"),
        (("average", "--length", "0.1", "--name", "../a"), "--name '../a' is no file name"),
        (("average", "--length", "0.1", "--checkpoint", "9"), "has no checkpoint '9'"),
        (("sample", "--average", "none"), "has no average 'none'; its averages are: "),
        (("sample", "--average", "none", "--no-ema"), "average 'none' is one set of weights; leave out no-ema"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, command: Command, words: tuple[str, ...], message: str) -> None:
    result = command(words[0], run.path, *words[1:])
    assert result.status == 2
    assert message in result.words


def test_few_checkpoints_are_not_enough(train: Train, command: Command) -> None:
    path = train("training.save_steps=3").path
    result = command("average", path, "--length", "0.1")
    assert result.status == 0
    assert "2 checkpoints do not give this average: its reconstruction error is 28.7%" in result.words
    again = command("average", path, "--length", "0.1")
    assert "exists, and nothing is overwritten; choose another --name, or remove it" in again.words


def test_a_run_without_an_average_and_a_fork_have_none(train: Train, command: Command, config: Path) -> None:
    plain = train("training.use_ema=false", "training.max_steps=1", output="plain").path
    result = command("average", plain, "--length", "0.1")
    assert result.status == 2
    assert "keeps no average of its weights, from which others are made: train with use_ema or averages" in result.words
    train("training.max_steps=1", output="begun")
    fork = command(config, "training.max_steps=2", "--fork", "forked", "training.output_dir=begun")
    assert fork.status == 0, fork.words
    result = command("average", "forked", "--length", "0.1")
    assert result.status == 2
    assert "began with the average of another run" in result.words
