"""The metrics file: lines are whole, and end at the step from which a run continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_run.runs.metrics_file import MetricsFile


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.jsonl")


def test_metrics_are_one_object_a_line(metrics: MetricsFile) -> None:
    metrics.append({"step": 1, "loss": 0.5})
    metrics.append({"step": 2, "loss": 0.25})
    assert metrics.path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'


def test_rewinding_removes_later_lines_and_a_cut_one(metrics: MetricsFile) -> None:
    metrics.path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 2')
    metrics.rewind(2)
    assert metrics.path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_rewinding_a_right_file_leaves_it_as_it_is(metrics: MetricsFile) -> None:
    metrics.path.write_text('{"step": 1}\n')
    before = metrics.path.stat()
    metrics.rewind(1)
    assert metrics.path.stat() == before


def test_rewinding_to_the_start_leaves_no_line(metrics: MetricsFile) -> None:
    metrics.path.write_text('{"step": 1}\nnonsense\n')
    metrics.rewind(0)
    assert metrics.path.read_bytes() == b""


def test_a_file_that_is_missing_needs_no_rewinding(metrics: MetricsFile) -> None:
    metrics.rewind(3)
    metrics.sync()
    assert not metrics.path.exists()


def test_a_line_that_is_being_written_is_not_read(metrics: MetricsFile) -> None:
    metrics.path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert metrics.read() == [{"step": 1}]


def test_only_the_last_line_can_be_that_of_a_step(metrics: MetricsFile) -> None:
    assert metrics.last(0) == {}
    metrics.append({"step": 1, "loss": 0.5})
    metrics.append({"step": 2, "loss": 0.25})
    assert metrics.last(1) == {}
    assert metrics.last(2) == {"step": 2, "loss": 0.25}
