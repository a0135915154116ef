"""The record of watching: what a continued run still has to do after the step of its checkpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dit_run.training.watch_record import WatchRecord

UNFINISHED = {"step": 3, "done": ["validation"], "values": {"loss": 0.5}}


@pytest.mark.parametrize(
    ("status", "step", "watched"),
    [
        ({"watched": 3}, 3, 3),
        ({"watched": 5}, 3, 3),  # the checkpoint of step 5 was damaged
        ({"watched": 2}, 3, 2),
        ({"watched": 0}, 3, 2),  # killed after the checkpoint of step 3
        ({"state": "interrupted"}, 3, 3),  # of a release that watched before it saved
        (None, 3, 2),
        ({"watched": "three"}, 3, 2),
        (None, 0, 0),
    ],
)
def test_the_work_of_the_last_step_is_outstanding_unless_it_is_known_to_be_done(
    status: dict[str, Any] | None, step: int, watched: int
) -> None:
    assert WatchRecord.of(status, step) == WatchRecord(watched)


def test_what_is_done_of_a_step_is_not_done_again() -> None:
    record = WatchRecord.of({"watched": 2, "unfinished": UNFINISHED}, 3)
    assert record == WatchRecord(2, ["validation"], {"loss": 0.5})
    assert WatchRecord.of({"watched": 1, "unfinished": {**UNFINISHED, "step": 2}}, 3) == WatchRecord(2)
    assert WatchRecord.of({"watched": 2, "unfinished": "broken"}, 3) == WatchRecord(2)


def test_a_record_is_the_same_after_status_json() -> None:
    record = WatchRecord(2, ["validation"], {"loss": 0.1})
    record.add_failure("callback x", "ValueError: y", 2)
    assert WatchRecord.of(json.loads(json.dumps(record.to_dict())), 3) == record
    record.finish(3)
    assert WatchRecord.of(json.loads(json.dumps(record.to_dict())), 3) == record


def test_failures_after_the_checkpoint_are_forgotten() -> None:
    record = WatchRecord(5)
    for step in (3, 4):
        record.add_failure(f"work {step}", "fault", step)
    assert [each.work for each in WatchRecord.of(record.to_dict(), 3).failures] == ["work 3"]


def test_equal_failures_are_counted() -> None:
    record = WatchRecord()
    assert str(record.add_failure("validation", "a fault", 3)) == "validation failed after step 3: a fault"
    assert record.add_failure("validation", "a fault", 6) is None
    assert str(record.add_failure("validation", "another", 9)) == "validation failed after step 9: another"
    assert list(map(str, record.failures)) == [
        "validation failed 2 times from step 3 on: a fault",
        "validation failed after step 9: another",
    ]
