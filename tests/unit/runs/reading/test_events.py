from __future__ import annotations

import json
from pathlib import Path

from run_folders import make_run

from dit_run.runs.notices_file import NoticesFile
from dit_run.runs.reading.events import read_events
from dit_run.runs.reading.run_files import RunFiles


def events(run: Path) -> list[tuple[str, int | None, bool, str]]:
    found = read_events(RunFiles(run.parent.resolve(), run.resolve()))
    return [(event.kind, event.step, event.time is not None, event.text) for event in found]


def notice(step: int, text: str, *, minute: int = 0) -> str:
    return json.dumps({"time": f"2026-01-02T03:{minute:02}:00+00:00", "step": step, "text": text}) + "\n"


def test_starts_skips_retries_saves_and_the_end_are_in_order(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", state="interrupted", step=9, reason="stopped by SIGTERM")
    (run / "notices.jsonl").write_text(
        notice(1, "sample bird.png is skipped: it is no image", minute=1)
        + notice(5, "the samples cannot be written (No space left on device); dit-run tries again later", minute=2)
    )
    (run / "bad-step-0.json").write_text(json.dumps({"step": 9, "loss": "nan", "grad_norm": "inf", "samples": ["a"]}))
    assert events(run) == [
        ("started", 0, True, "dit-run x.yaml"),
        ("notice", 1, True, "sample bird.png is skipped: it is no image"),
        ("notice", 5, True, "the samples cannot be written (No space left on device); dit-run tries again later"),
        ("interrupted", 9, True, "stopped by SIGTERM"),
        ("bad_step", 9, True, "loss nan, gradient norm inf; samples: a"),
    ]


def test_a_failure_takes_the_place_and_the_time_of_its_notice(tmp_path: Path) -> None:
    failure = {"work": "validation", "error": "no: space", "step": 5, "last_step": 8, "times": 2}
    other = {"work": "metrics[0] (shapes)", "error": "x", "step": 5, "last_step": 5, "times": 1}
    run = make_run(tmp_path / "a", failures=[failure, other])
    told = "validation failed after step 5, and the run continues: no: space"
    (run / "notices.jsonl").write_text(notice(5, told, minute=3) + notice(6, told, minute=4))
    assert events(run)[1:] == [
        ("failure", 5, True, "validation: no: space (2 times)"),
        ("notice", 6, True, told),
        ("finished", 100, True, ""),
        ("failure", 5, False, "metrics[0] (shapes): x"),
    ]


def test_a_half_written_or_damaged_notice_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (run / "notices.jsonl").write_text('[1]\n{"step": tru\n' + notice(2, "x") + '{"step": 3, "text": "ha')
    assert [event[3] for event in events(run) if event[0] == "notice"] == ["x"]


def test_of_many_notices_the_last_are_read_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    file = NoticesFile(run / "notices.jsonl")
    for step in range(1500):
        file.append(step, f"step {step}: the update is skipped")
    steps = [event[1] for event in events(run) if event[0] == "notice"]
    assert 300 < len(steps) < 1500
    assert steps == list(range(1500 - len(steps), 1500))


def test_a_disk_that_fails_ends_nothing(tmp_path: Path) -> None:
    NoticesFile(tmp_path / "missing" / "notices.jsonl").append(1, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_notice_after_one_that_was_cut_is_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    file = NoticesFile(run / "notices.jsonl")
    file.append(1, "x")
    with file.path.open("r+b") as opened:
        opened.truncate(file.path.stat().st_size - 5)
    file.append(2, "y")
    assert [event[1:] for event in events(run) if event[0] == "notice"] == [(2, True, "y")]
