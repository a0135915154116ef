"""When things are due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_parts import CONFIG

from dit_run import load_config
from dit_run.data.order import RunLength
from dit_run.training.schedule import Schedule

STEPS = range(1, 11)


@pytest.fixture
def schedule(tmp_path: Path) -> Callable[..., Schedule]:
    """A schedule of 10 steps over 10 samples, 4 a step."""

    def made(*overrides: str, epochs: int = 4) -> Schedule:
        path = tmp_path / "tiny.yaml"
        path.write_text(CONFIG)
        return Schedule(load_config(path, *overrides), RunLength(10, 4, epochs))

    return made


def due(answer: Callable[[int], bool]) -> list[int]:
    return [step for step in STEPS if answer(step)]


def test_logs_come_every_so_many_steps_and_at_the_end(schedule: Callable[..., Schedule]) -> None:
    assert due(schedule("training.logging_steps=4").logs) == [4, 8, 10]


def test_checkpoints_come_by_steps_by_epochs_and_at_the_end(schedule: Callable[..., Schedule]) -> None:
    by_steps = schedule("training.save_steps=4", "training.save_every_n_epochs=null")
    by_epochs = schedule("training.save_steps=null", "training.save_every_n_epochs=1")
    both = schedule("training.save_steps=4", "training.save_every_n_epochs=2")
    assert due(by_steps.saves) == [4, 8, 10]
    assert due(by_epochs.saves) == [3, 5, 8, 10]
    assert due(both.saves) == [4, 5, 8, 10]


@pytest.mark.parametrize(("key", "answer"), [("validation", "validates"), ("sampling", "samples")])
def test_validation_and_samples(schedule: Callable[..., Schedule], key: str, answer: str) -> None:
    assert due(getattr(schedule(f"{key}.every_n_steps=6"), answer)) == [6, 10]
    assert due(getattr(schedule(f"{key}.every_n_steps=null"), answer)) == []


def test_scores_come_at_the_end_and_where_asked_for(schedule: Callable[..., Schedule]) -> None:
    assert due(schedule().scores) == [10]
    assert due(schedule("validation.metrics_every_n_steps=5").scores) == [5, 10]


@pytest.mark.parametrize("every", ["1", "3", "4", "null"])
@pytest.mark.parametrize("epochs", ["1", "2", "3"])
@pytest.mark.parametrize(("size", "batch"), [(10, 4), (4, 10), (7, 5), (12, 3), (1, 4)])
def test_how_often_is_known_without_walking_the_run(
    schedule: Callable[..., Schedule], every: str, epochs: str, size: int, batch: int
) -> None:
    words = (f"training.save_steps={every}", f"training.save_every_n_epochs={epochs}", "sampling.every_n_steps=3")
    config = schedule(*words, "validation.every_n_steps=4", "validation.metrics_every_n_steps=5").config
    for passes in (1, 5, 6):
        made = Schedule(config, RunLength(size, batch, passes))
        steps = range(1, made.run_length.total_steps + 1)
        assert [made.saves_after(step) for step in (0, *steps)] == [
            sum(map(made.saves, steps[step:])) for step in (0, *steps)
        ]
        assert made.validations == sum(map(made.validates, steps))
        assert made.samplings == sum(map(made.samples, steps))
        assert made.scorings == sum(map(made.scores, steps))


def test_an_endless_run_is_counted_at_once(schedule: Callable[..., Schedule]) -> None:
    made = schedule("training.save_steps=500", "training.save_every_n_epochs=10", epochs=10**12)
    assert made.saves_after(0) == 10**11  # every 25 steps, which every 500 steps are among
