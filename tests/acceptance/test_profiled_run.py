"""``--profile``: the split of the time in every logged line, a trace and a sentence at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Command, Run, Train, stopping


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_run.compute.timing.SIZES", (128,))


@pytest.mark.slow
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


SLOW_SAVES = """
import time
from dataclasses import dataclass

from dit_run import Component, Kind, hookimpl


@dataclass(frozen=True, kw_only=True)
class Nothing:
    \"\"\"Nothing.\"\"\"


class Callback:
    def on_checkpoint_saved(self, progress):
        time.sleep(1)


@hookimpl
def dit_run_components():
    return [Component(Kind.CALLBACK, "slow_saves", Nothing, lambda options, *, run_dir: Callback())]
"""


@pytest.mark.slow
def test_saving_is_not_what_bounds_a_run(command: Command, config: Path) -> None:
    Path("slow.py").write_text(SLOW_SAVES)
    words = ("plugins=[slow.py]", "callbacks=[{type: slow_saves}]", "training.save_steps=1", "training.max_steps=3")
    assert command(config, "--profile", *words).status == 0
    logged = Run(Path("run")).metrics
    assert all(line["images_per_second"] > 4 for line in logged)


def test_a_stopped_run_is_profiled(command: Command, config: Path) -> None:
    words = (*stopping(4), "training.max_steps=100")
    result = command(config, "--profile", *words)
    assert result.status == 143
    assert "no trace: it begins after 5 steps, and there were 4" in result.words


@pytest.mark.slow
def test_a_compiled_model_that_computes_its_blocks_again_is_profiled(command: Command, config: Path) -> None:
    words = ("training.compile_model=true", "model.gradient_checkpointing=true", "validation.every_n_steps=null")
    result = command(config, "--profile", *words)
    assert result.status == 0, result.words
    assert "note: profile: " in result.words
