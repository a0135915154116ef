"""csv: a table that is whole at any time and has each step once."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_run_plugins.trackers.csv import Csv, CsvTracker, build

Make = Callable[..., CsvTracker]


@pytest.fixture
def tracker(tmp_path: Path) -> Make:
    return lambda start_step=0, **options: build(Csv(**options), run_dir=tmp_path, start_step=start_step)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: (tmp_path / "metrics.csv").read_text().splitlines()


def test_a_row_shows_as_soon_as_it_is_logged(tracker: Make, lines: Callable[[], list[str]]) -> None:
    run = tracker()
    run.log(1, {"loss": 0.5})
    assert lines() == ["step,loss", "1,0.5"]
    run.log(2, {"loss": float("nan")})
    assert lines() == ["step,loss", "1,0.5", "2,nan"]


def test_a_new_value_adds_a_column_at_the_end(tracker: Make, lines: Callable[[], list[str]]) -> None:
    run = tracker()
    run.log(1, {"loss": 0.5, "rate": 0.1})
    run.log(2, {"validation/loss": 1.0, "loss": 0.25})
    run.log(3, {"rate": 0.2})
    run.close()
    assert lines() == ["step,loss,rate,validation/loss", "1,0.5,0.1,", "2,0.25,,1.0", "3,,0.2,"]


def test_a_continued_run_has_each_step_once(tracker: Make, lines: Callable[[], list[str]]) -> None:
    killed = tracker()
    for step in (1, 2, 3):
        killed.log(step, {"loss": float(step), "late": 1.0} if step == 3 else {"loss": float(step)})
    continued = tracker(start_step=2)
    assert lines() == ["step,loss", "1,1.0", "2,2.0"]
    continued.log(3, {"loss": 0.5})
    assert lines() == ["step,loss", "1,1.0", "2,2.0", "3,0.5"]


def test_a_run_that_begins_again_keeps_nothing(tracker: Make, lines: Callable[[], list[str]]) -> None:
    tracker().log(1, {"loss": 0.5})
    tracker()
    assert lines() == ["step"]


def test_a_name_with_commas_and_quotes_is_read_back(tracker: Make, tmp_path: Path) -> None:
    name = 'score, "all"\nof it'
    tracker(file="all.csv").log(1, {name: 0.1})
    tracker(start_step=1, file="all.csv").log(2, {name: 0.2})
    with (tmp_path / "all.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"step": "1", name: "0.1"}, {"step": "2", name: "0.2"}]


def test_a_row_that_a_crash_cut_off_is_dropped(tracker: Make, lines: Callable[[], list[str]], tmp_path: Path) -> None:
    run = tracker()
    run.log(1, {"loss": 0.5})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write('"2')
    tracker(start_step=1)
    assert lines() == ["step,loss", "1,0.5"]


def test_the_file_lies_in_the_run_folder() -> None:
    from dit_run.options import options_of

    (option,) = options_of(Csv)
    assert option.schema["pattern"] == "^[^/]+$"
