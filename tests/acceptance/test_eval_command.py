"""`dit-run eval`: scores of a trained run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Command, Train

SCORED = ("metrics=[{type: shapes, count: 4}]",)


@pytest.mark.slow
def test_scores_are_those_of_the_runs_end(train: Train, command: Command) -> None:
    run = train(*SCORED, "training.max_steps=3")
    result = command("eval", run.path)
    assert result.status == 0, result.words
    (right,) = run.values("shapes/attributes_right")
    assert result.out.startswith("step-00000003, averaged (EMA) weights\n")
    assert f"shapes/attributes_right {right:.4f}" in result.words


@pytest.mark.slow
def test_as_json_with_other_weights_and_settings(train: Train, command: Command) -> None:
    run = train(*SCORED)
    words = ("--no-ema", "--checkpoint", "step-00000003", "sampling.steps=1", "--json")
    result = command("eval", run.path, *words)
    scores = json.loads(result.out)
    assert (scores["checkpoint"], scores["weights"]) == ("step-00000003", "model")
    assert {"shapes/wholly_right", "shapes/attributes_right", "shapes/above_chance"} <= set(scores)


def test_metrics_may_be_named_afterwards(train: Train, command: Command) -> None:
    run = train("training.max_steps=1")
    refused = command("eval", run.path)
    assert refused.status == 2
    assert "has no metrics; add some: dit-run eval RUN 'metrics=[{type: ...}]'" in refused.words
    assert command("eval", run.path, *SCORED).status == 0


def test_scoring_leaves_the_run_as_it_is(train: Train, command: Command) -> None:
    run = train(*SCORED, "training.max_steps=1")
    before = run.everything()
    command("eval", run.path)
    assert run.everything() == before


COUNTING = """
from dataclasses import dataclass
from dit_run import Component, Kind, hookimpl

@dataclass(frozen=True, kw_only=True)
class Counting:
    \"\"\"Number of reference images.\"\"\"

class Metric:
    count = 4

    def __init__(self, references):
        self.references = references

    def prompts(self, count):
        return None

    def score(self, images, prompts):
        return {"found": float(len(self.references(4)))}

@hookimpl
def dit_run_components():
    return [Component(Kind.METRIC, "counting", Counting, lambda options, *, references: Metric(references))]
"""


@pytest.mark.slow
def test_scores_on_training_samples_have_another_name(train: Train, command: Command, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    both = "metrics=[{type: counting}, {type: shapes, count: 4}]"
    run = train(both, "plugins=[./counting.py]", "data.train_split=1.0", "training.max_steps=1")
    assert run.values("counting/found_train") == [4.0]
    assert run.values("counting/found") == [] and run.values("shapes/wholly_right") != []
    result = command("eval", run.path, "--allow-plugins")
    assert "counting/found_train 4.0000" in result.words and "shapes/wholly_right " in result.words
    assert "note: no samples are held out, so counting uses training samples" in result.err
    assert "_train" not in command("eval", run.path, "--allow-plugins", "metrics=[{type: shapes, count: 4}]").words


def test_scores_on_held_out_samples_keep_their_name(train: Train, command: Command, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    run = train("metrics=[{type: counting}]", "plugins=[./counting.py]", "training.max_steps=1")
    assert run.values("counting/found") == [4.0] and run.values("counting/found_train") == []


def test_a_count_beyond_the_held_out_samples_is_noted(train: Train, command: Command, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING.replace("count = 4", "count = 24"))
    run = train("metrics=[{type: counting}]", "plugins=[./counting.py]", "training.max_steps=1")
    noted = (
        "note: counting scores 16 images instead of its count of 24, because only 16 samples are held out; its scores "
        "cannot be compared with those of other counts\n"
    )
    assert command("eval", run.path, "--allow-plugins").err == noted
    assert command("eval", run.path, "--allow-plugins", "--quiet").err == ""
