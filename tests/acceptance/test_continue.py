"""Stopping, continuing, starting again and branching off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from runs import Command, Run, Train, stopping

LIVELY = (
    "training.gradient_accumulation_steps=2",
    "training.batch_size=2",
    "data.random_flip=true",
    "data.crop=random",
    "training.logging_steps=3",
)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_and_continued_learns_the_bytes_of_an_uninterrupted_run(
    train: Train, command: Command, config: Path, workers: int
) -> None:
    whole = train(*LIVELY, output="whole")
    words = (config, *LIVELY, *stopping(4), f"training.num_workers={workers}")
    stopped = command(*words)
    run = Run(Path("run"))
    assert stopped.status == 143
    assert "stopped after step 4 of 6; the same command continues" in stopped.words
    assert (run.status["state"], run.status["step"]) == ("interrupted", 4)
    assert run.checkpoints == ["step-00000003", "step-00000004"]

    assert command(*words).status == 0
    assert run.learnt() == whole.learnt()
    assert run.values("loss") == whole.values("loss")
    assert run.values("validation/loss_ema") == whole.values("validation/loss_ema")
    assert run.status["state"] == "finished"


@pytest.mark.slow
def test_it_continues_with_the_threads_that_it_began_with(command: Command, config: Path) -> None:
    before = torch.get_num_threads()
    assert command(config, *stopping(2), "training.num_threads=2").status == 143
    assert command(config, "training.num_threads=null").status == 0
    provenance = json.loads((Path("run") / "provenance.json").read_bytes())
    starts = [provenance, *provenance["continued"]]
    assert [start["machine"]["threads"] for start in starts] == [2, 2]
    assert torch.get_num_threads() == before == 1


def test_interrupted_from_the_keyboard_it_saves_too(command: Command, config: Path) -> None:
    assert command(config, *stopping(2, "SIGINT")).status == 130
    assert Run(Path("run")).checkpoints == ["step-00000002"]


def test_a_stop_after_a_checkpoint_saves_no_second_one(command: Command, config: Path) -> None:
    result = command(config, *stopping(3))
    assert result.words.count("saved") == 1
    assert Run(Path("run")).checkpoints == ["step-00000003"]


def test_a_stop_after_the_last_step_is_the_end(command: Command, config: Path) -> None:
    assert command(config, *stopping(6)).status == 0
    assert Run(Path("run")).status["state"] == "finished"


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("training.caption_dropout=0.2", "training.caption_dropout: 0.1 -> 0.2"),
        ("model.dropout=0.2", "model.dropout: 0.1 -> 0.2"),
        ("data.seed=1", "data.seed: 0 -> 1"),
        ("optimizer.type=muon", "optimizer.type: 'adamw' -> 'muon'"),
        ("training.seed=1", "training.seed: 42 -> 1"),
    ],
)
def test_another_identity_is_refused_naming_the_key(
    unfinished: Run, command: Command, config: Path, override: str, change: str
) -> None:
    before = unfinished.everything()
    result = command(config, override)
    assert result.status == 2
    assert f"{unfinished.path} holds a run with another config:" in result.words
    assert change in result.words
    assert "--fresh DIR" in result.words
    assert unfinished.everything() == before


@pytest.mark.slow
def test_operational_keys_may_change(unfinished: Run, command: Command, config: Path) -> None:
    result = command(config, "training.logging_steps=2", "training.save_steps=5", "sampling.every_n_steps=6")
    assert result.status == 0, result.words
    assert unfinished.checkpoints == ["step-00000003", "step-00000005", "step-00000006"]  # 3 was the best before 6
    assert unfinished.status["best"]["step"] == 6
    assert [line["step"] for line in unfinished.metrics] == [1, 2, 3, 4, 6]


@pytest.mark.slow
def test_what_only_watches_may_change(unfinished: Run, command: Command, config: Path) -> None:
    assert command(config, "metrics=[{type: shapes, count: 2}]").status == 0
    assert len(unfinished.values("shapes/wholly_right")) == 1


@pytest.mark.slow
def test_fresh_starts_another_run_and_leaves_the_first(unfinished: Run, command: Command, config: Path) -> None:
    before = unfinished.everything()
    assert command(config, "--fresh", "second").status == 0
    assert [line["step"] for line in Run(Path("second")).metrics] == [1, 2, 3, 4, 5, 6]
    assert unfinished.everything() == before


@pytest.mark.slow
def test_a_fork_goes_on_from_the_checkpoint_under_another_config(
    unfinished: Run, command: Command, config: Path
) -> None:
    before = unfinished.everything()
    result = command("--fork", "second", config, "training.learning_rate=0.01", "training.max_steps=8")
    assert result.status == 0, result.words
    second = Run(Path("second"))
    assert [(line["step"], line["learning_rate"]) for line in second.metrics] == [(s, 0.01) for s in (5, 6, 7, 8)]
    assert second.checkpoints[0] == "step-00000004"
    assert second.learnt(4) == unfinished.learnt(4)
    assert unfinished.everything() == before


@pytest.mark.slow
def test_a_fork_under_the_same_config_is_the_run_itself(train: Train, command: Command, config: Path) -> None:
    whole = train(output="whole")
    assert command(config, *stopping(4)).status == 143
    assert command(config, "--fork", "second").status == 0
    assert Run(Path("second")).learnt() == whole.learnt()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_fork_follows_the_options_of_its_optimizer(
    train: Train, command: Command, config: Path, optimizer: str
) -> None:
    words = (f"optimizer.type={optimizer}", "training.max_steps=2")
    train(*words)
    for folder, decay in ("same", 0.01), ("other", 5.0):
        more = ("training.max_steps=4", f"optimizer.weight_decay={decay}")
        result = command(config, words[0], *more, "--fork", folder)
        assert result.status == 0, result.words
    same, other = (sum(map(torch.sum, map(torch.abs, Run(Path(f)).tensors().values()))) for f in ("same", "other"))
    assert other < 0.95 * same


@pytest.mark.slow
def test_a_fork_keeps_the_best_of_its_own(unfinished: Run, command: Command, config: Path) -> None:
    words = ("training.save_steps=1", "training.save_total_limit=2", "validation.every_n_steps=1")
    assert command("--fork", "second", config, *words, "training.learning_rate=0.5", "training.max_steps=8").status == 0
    second = Run(Path("second"))
    losses = second.values("validation/loss_ema")
    assert losses[0] == min(losses) > min(unfinished.values("validation/loss_ema"))
    assert second.checkpoints == ["step-00000005", "step-00000008"]


@pytest.mark.slow
def test_a_stopped_fork_continues(unfinished: Run, command: Command, config: Path) -> None:
    assert command(config, "--fork", "second", *stopping(5), "training.max_steps=8").status == 143
    assert command(config, "training.output_dir=second", "training.max_steps=8").status == 0
    assert [line["step"] for line in Run(Path("second")).metrics] == [5, 6, 7, 8]


@pytest.mark.slow
def test_the_same_command_with_fresh_continues(command: Command, config: Path) -> None:
    words = (config, *stopping(2), "--fresh", "second")
    stopped = command(*words)
    assert stopped.status == 143
    assert "the same command continues" in stopped.words
    assert command(*words).status == 0
    assert [line["step"] for line in Run(Path("second")).metrics] == [1, 2, 3, 4, 5, 6]
    assert "finished after 6 steps; start a new run with --fresh DIR" in command(*words).words


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 5], ids=["before-its-first-step", "after-it"])
def test_the_same_command_with_fork_continues(train: Train, command: Command, config: Path, at: int) -> None:
    whole = train(output="whole")
    assert command(config, *stopping(4)).status == 143
    words = (config, *stopping(at), "--fork=second")
    assert command(*words).status == (143 if at == 5 else 0)
    assert command(*words).status == 0
    assert Run(Path("second")).learnt() == whole.learnt()


@pytest.mark.slow
def test_a_fork_that_was_killed_before_its_checkpoint_begins_with_the_other_run(
    unfinished: Run, command: Command, config: Path
) -> None:
    assert command(config, *stopping(5), "--fork", "second").status == 143
    shutil.rmtree("second/checkpoints")
    assert command(config, "--fork", "second").status == 0
    assert [line["step"] for line in Run(Path("second")).metrics] == [5, 6]


@pytest.mark.slow
def test_a_fork_of_another_run_is_not_continued(unfinished: Run, command: Command, config: Path) -> None:
    assert command(config, *stopping(2), "--fresh", "other").status == 143
    assert command(config, "training.output_dir=other", *stopping(3), "--fork", "second").status == 143
    before = Run(Path("second")).everything()
    result = command(config, "--fork", "second")
    assert result.status == 2
    assert "already holds a run" in result.words
    assert Run(Path("second")).everything() == before


@pytest.mark.parametrize("flag", ["--fresh", "--fork"])
def test_a_folder_with_a_run_is_not_begun_again(unfinished: Run, command: Command, config: Path, flag: str) -> None:
    before = unfinished.everything()
    result = command(config, flag, unfinished.path)
    assert result.status == 2
    assert "already holds a run; name a new folder after --fresh or --fork" in result.words
    assert unfinished.everything() == before


def test_a_fork_of_nothing_is_refused(command: Command, config: Path) -> None:
    result = command(config, "--fork", "second")
    assert result.status == 2
    assert "run (training.output_dir) has no checkpoint to fork from; start a new run with --fresh DIR" in result.words
    assert not Path("second").exists()


def test_a_fork_of_a_run_that_is_over_needs_more_steps(train: Train, command: Command, config: Path) -> None:
    train()
    result = command(config, "--fork", "second")
    assert result.status == 2
    assert "is at step 6, and this config's run ends after 6; raise training.max_steps" in result.words
    assert not Path("second").exists()


def test_a_fork_into_a_model_of_another_shape_is_refused(unfinished: Run, command: Command, config: Path) -> None:
    result = command(config, "--fork", "second", "model.hidden_size=32")
    assert result.status == 2
    checkpoint = unfinished.path / "checkpoints" / "step-00000004"
    assert f"the weights in {checkpoint} do not fit the model of this config: " in result.words
    assert not Path("second").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_said(unfinished: Run, command: Command, config: Path) -> None:
    path = unfinished.file("model.safetensors", 4)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    result = command(config)
    assert result.status == 0
    assert (
        "damaged checkpoint passed over: step-00000004 (model.safetensors does not match its checksum)" in result.words
    )
    assert [line["step"] for line in unfinished.metrics] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_compiled_or_not_it_is_the_same_kind_of_run(train: Train, command: Command, config: Path) -> None:
    alike = ("model.dropout=0.0", "training.learning_rate=0.001")
    plain = train(*alike, output="plain")
    words = (config, *alike, *stopping(4))
    assert command(*words, "training.compile_model=true").status == 143
    compiled = Run(Path("run"))
    for file in ("model", "ema"):
        theirs, own = compiled.tensors(file, 4), plain.tensors(file)
        assert {name: value.shape for name, value in theirs.items()} == {n: value.shape for n, value in own.items()}
    assert compiled.values("loss") == pytest.approx(plain.values("loss")[:4], rel=1e-3)
    assert command(*words, "training.compile_model=false").status == 0
