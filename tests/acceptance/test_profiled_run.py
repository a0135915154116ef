"""``--profile``: the split of the time in every logged line, a trace and a sentence at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Command, Run, Train


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.training.peak.SIZES", (128,))


def test_a_profiled_run_learns_the_same_and_tells_more(command: Command, config: Path, train: Train) -> None:
    result = command(config, "--profile", "training.max_steps=12", "training.output_dir=profiled")
    plain, profiled = train("training.max_steps=12"), Run(Path("profiled").absolute())
    assert profiled.learnt() == plain.learnt()
    assert "note: profile: " in result.words
    assert " bounds the run: " in result.words
    assert "forward " in result.words
    logged = profiled.metrics[-1]
    assert 0 < logged["profile/forward"] < 1
    assert logged["profile/share_of_peak"] > 0
    assert [path.name for path in (profiled.path / "profile").iterdir()] == ["step-00000008.json"]
    assert not plain.values("profile/forward")
