"""`dit-run eval`: scores of a trained run."""

from __future__ import annotations

import json

from runs import Command, Train

SCORED = ("metrics=[{type: shapes, count: 4}]",)


def test_scores_are_those_of_the_runs_end(train: Train, command: Command) -> None:
    run = train(*SCORED, "training.max_steps=3")
    result = command("eval", run.path)
    assert result.status == 0, result.words
    (right,) = run.values("shapes/attributes_right")
    assert result.out.startswith("step-00000003\n")
    assert f"shapes/attributes_right {right:.4f}" in result.words


def test_as_json_with_other_weights_and_settings(train: Train, command: Command) -> None:
    run = train(*SCORED)
    words = ("--no-ema", "--checkpoint", "step-00000003", "sampling.steps=1", "--json")
    result = command("eval", run.path, *words)
    scores = json.loads(result.out)
    assert scores["checkpoint"] == "step-00000003"
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
