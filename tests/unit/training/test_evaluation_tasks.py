"""Tasks of evaluation: the sets of samples are chosen once, and each item is a batch of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_parts import CPU, Parts, assembled

from dit_run.training.evaluation_tasks import EvaluationParts, LossTask
from dit_run.training.run_parts import RunParts


def evaluated(parts: Parts) -> EvaluationParts:
    return EvaluationParts(RunParts.build(parts.config, parts.data, parts.encoders, CPU, denoiser=parts.denoiser))


def test_a_set_of_samples_is_chosen_once(parts: Parts) -> None:
    once, task = evaluated(parts), LossTask(held_out=False)
    chosen, batches = task.validation_set(once), task.validation_set(once).batches
    assert task.count(once) == len(batches)
    assert len(list(task.results(once, range(task.count(once))))) == len(batches)
    assert task.validation_set(once) is chosen and chosen.batches is batches


@pytest.mark.parametrize("held_out", [True, False])
def test_an_item_is_its_batch_of_the_set(tmp_path: Path, held_out: bool) -> None:
    once, task = evaluated(assembled(tmp_path, "data.train_split=0.5")), LossTask(held_out)
    chosen = task.validation_set(once)
    whole = list(task.results(once, range(task.count(once))))
    (last,) = task.results(once, [task.count(once) - 1])
    assert last.losses[""].equal(whole[-1].losses[""])
    assert chosen.mean(whole) == chosen.measure(once.run.evaluated)
    assert chosen.visits.samples.dataset is once.run.data.train.dataset


def test_a_run_that_holds_out_nothing_has_the_probe_alone(tmp_path: Path) -> None:
    assert evaluated(assembled(tmp_path, "data.train_split=1.0")).held_out is None
