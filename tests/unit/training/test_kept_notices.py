from __future__ import annotations

import json
from pathlib import Path

from dit_run.reporting import Silent
from dit_run.runs.notices_file import NoticesFile
from dit_run.training.kept_notices import KeptNotices


class Recorder(Silent):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def notice(self, text: str) -> None:
        self.calls.append(("notice", text))

    def step(self, step: int, loss: float | None) -> None:
        self.calls.append(("step", step, loss))

    def saved(self, path: Path) -> None:
        self.calls.append(("saved", path))


def kept(path: Path) -> list[tuple[int, str]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["step"], row["text"]) for row in rows]


def test_notices_are_kept_with_their_step_from_the_begin_of_training_to_its_end(tmp_path: Path) -> None:
    path, shown = tmp_path / "notices.jsonl", Recorder()
    reporter = KeptNotices(shown, NoticesFile(path))
    reporter.notice("damaged checkpoint passed over")
    reporter.end()  # of the preparation
    assert kept(path) == []
    reporter.begin(3, 10)
    reporter.step(4, 0.5)
    reporter.notice("sample a is skipped")
    reporter.saved(tmp_path)
    reporter.end()
    reporter.notice("stopped after step 4 of 10")
    assert kept(path) == [(3, "damaged checkpoint passed over"), (4, "sample a is skipped")]
    assert shown.calls == [
        ("notice", "damaged checkpoint passed over"),
        ("step", 4, 0.5),
        ("notice", "sample a is skipped"),
        ("saved", tmp_path),
        ("notice", "stopped after step 4 of 10"),
    ]
