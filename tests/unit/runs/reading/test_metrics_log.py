from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dit_run.runs.reading.metrics_log import MetricsLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def values(log: MetricsLog, name: str) -> list[float]:
    return log.series(name).values.tolist()


def test_a_growing_file_is_read_on(path: Path) -> None:
    add(path, '{"step": 1, "loss": 0.5, "time": 10.0}\n')
    log = MetricsLog(path)
    assert log.read()
    add(path, '{"step": 2, "loss": 0.25, "validation/loss": 2, "time": 11.5}\n')
    assert log.read()
    series = log.series("loss")
    assert (series.steps.tolist(), series.times.tolist(), series.values.tolist()) == ([1, 2], [10.0, 11.5], [0.5, 0.25])
    assert log.series("validation/loss").steps.tolist() == [2]
    assert log.names == ["loss", "validation/loss"]


def test_a_line_without_its_end_waits_for_the_rest(path: Path) -> None:
    add(path, '{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    log = MetricsLog(path)
    assert log.read()
    assert values(log, "loss") == [0.5]
    add(path, 'ss": 0.25}\n')
    log.read()
    assert values(log, "loss") == [0.5, 0.25]


def test_a_file_that_was_replaced_is_read_again(path: Path, tmp_path: Path) -> None:
    add(path, '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    log = MetricsLog(path)
    log.read()
    other = tmp_path / "other"
    other.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.75}\n{"step": 3, "loss": 1.0}\n')
    other.rename(path)
    log.read()
    assert values(log, "loss") == [0.5, 0.75, 1.0]


def test_a_file_that_was_cut_is_read_again(path: Path) -> None:
    add(path, '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    log = MetricsLog(path)
    log.read()
    path.open("r+").truncate(25)
    log.read()
    assert values(log, "loss") == [0.5]


def test_nan_and_infinity_are_values(path: Path) -> None:
    for step, value in enumerate(["NaN", "-Infinity", "1e300", "1.0"]):
        add(path, f'{{"step": {step}, "loss": {value}}}\n')
    log = MetricsLog(path)
    log.read()
    first, *rest = values(log, "loss")
    assert math.isnan(first)
    assert rest == [-math.inf, math.inf, 1.0]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "[1]",
        "7",
        '{"loss": 1}',
        '{"step": "1", "loss": 1}',
        '{"step": NaN, "loss": 1}',
        "[" * 100_000,
        '{"step": true, "loss": 1}',
        '{"step": 1e400, "loss": 1}',
        "\x00\xff",
        '{"step": 1, "loss": "1"}',
    ],
)
def test_a_line_that_is_no_metrics_is_left_out(path: Path, line: str) -> None:
    add(path, f'{{"step": 1, "loss": 0.5}}\n{line}\n{{"step": 2, "loss": 0.25}}\n')
    log = MetricsLog(path)
    assert log.read()
    assert values(log, "loss") == [0.5, 0.25]


def test_a_line_of_ten_megabytes_is_left_out(path: Path) -> None:
    add(path, '{"step": 1, "loss": 0.5}\n' + json.dumps({"step": 2, "loss": 7, "x": "y" * 10_000_000}) + "\n")
    add(path, '{"step": 3, "loss": 0.25}\n')
    log = MetricsLog(path)
    log.read()
    assert values(log, "loss") == [0.5, 0.25]
    assert log.nbytes < 1000


def test_many_names_are_bounded(path: Path) -> None:
    add(path, json.dumps({"step": 1, **{f"name{index}": 1.0 for index in range(5000)}}) + "\n")
    log = MetricsLog(path)
    log.read()
    assert len(log.names) == 2000


def test_reading_stops_when_its_time_is_over_and_continues(path: Path) -> None:
    line = json.dumps({"step": 1, "loss": 0.5}) + "\n"
    add(path, line * (3 * 2**20 // len(line)))
    clock = iter([0.0, 0.5, 2.0])
    log = MetricsLog(path)
    assert not log.read(1.0, now=lambda: next(clock))
    assert 0.3 < log.progress < 0.4
    assert log.read()
    assert log.progress == 1


def test_a_missing_file_has_no_values(path: Path) -> None:
    log = MetricsLog(path)
    assert log.read()
    assert log.names == []
    assert values(log, "loss") == []
