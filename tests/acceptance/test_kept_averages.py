"""Several averages kept at once: continued exactly, chosen by name, and mixed after training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from runs import Command, Run, Train, stopping
from safetensors.torch import load_file

from dit_run import load_run

pytestmark = pytest.mark.slow

TEMPLATE = Path(__file__).resolve().parents[2] / "framework" / "dit_run" / "templates" / "average.py"
AVERAGES = "averages=[{type: power, length: 0.15}, {type: example, start: 2}, {type: ema, decay: 0.8, name: long}]"
FILES = ("model", "ema", "average-power", "average-example", "average-long", "optimizer")


def several() -> tuple[str, str]:
    """Arguments with an average of a plugin among others."""
    Path("mine.py").write_text(TEMPLATE.read_text())
    return AVERAGES, "training.save_total_limit=null"


def learnt(run: Run) -> dict[str, bytes]:
    return {name: run.file(f"{name}.safetensors").read_bytes() for name in FILES}


def test_a_stopped_run_continues_all_of_them_byte_for_byte(train: Train, command: Command, config: Path) -> None:
    plain = train(output="plain")
    words = several()
    whole = train(*words, "plugins=[mine.py]", output="whole")
    assert plain.learnt().items() <= whole.learnt().items()  # the run's own average, weights and optimizer
    plugins, callbacks = stopping(4)
    stopped = (config, *words, plugins.replace("[", "[mine.py, "), callbacks)
    assert command(*stopped).status == 143
    assert command(*stopped).status == 0
    assert learnt(Run(Path("run"))) == learnt(whole)
    changed = command(*stopped, "averages=[]")
    assert changed.status == 2
    assert "averages" in changed.words


@pytest.fixture
def run(train: Train) -> Run:
    return train(*several(), "training={save_steps: 1, use_ema: false}", "plugins=[mine.py]", output="averaged")


def test_each_is_chosen_by_name(run: Run, command: Command, tmp_path: Path) -> None:
    for name in ("power", "long"):
        opened = load_run(run.path, average=name)
        assert (opened.average, opened.ema, opened.checkpoint.name) == (name, True, "step-00000006")
        kept, loaded = run.tensors(f"average-{name}"), opened.pipeline.denoiser.tensors()
        assert all(torch.equal(value, loaded[key]) for key, value in kept.items())
        assert opened.sample("a cross")[0].info["average"] == name
    first = load_run(run.path)
    assert first.average == "power"
    assert run.values("validation/loss_ema")
    own = (np.asarray(load_run(run.path, ema=each).sample("a cross")[0]) for each in (True, False))
    assert not np.array_equal(*own)
    said = command("sample", run.path, "a cross", "--average", "long", "--checkpoint", "3", "--output", tmp_path / "a")
    assert said.status == 0, said.words
    said = command(
        "export", run.path, tmp_path / "out", "--average", "long", "--format", "safetensors", "--allow-plugins"
    )
    assert said.status == 0, said.words
    assert "the averaged weights (long) of step 6" in said.words
    assert load_run(tmp_path / "out", allow_plugins=True).average == "long"
    assert "| Weights | average `long` |" in (tmp_path / "out" / "README.md").read_text()
    metric = "metrics=[{type: shapes, count: 2}]"
    assert "step-00000006, averaged weights (example)" in command("eval", run.path, metric, "--average", "example").out
    unknown = command("sample", run.path, "a cross", "--average", "ema")
    assert "has no average 'ema'; its averages are: power, example, long" in unknown.words


def test_an_average_after_training_is_the_one_that_was_kept(run: Run, command: Command) -> None:
    needed = command("average", run.path, "--length", "0.15")
    assert "mine.py" in needed.words  # code of the run folder is not run without a flag
    result = command("average", run.path, "--length", "0.15", "--allow-plugins")
    assert result.status == 0, result.words
    kept, made = run.tensors("average-power"), load_file(run.path / "averages" / "length-0.15.safetensors")
    for name, value in kept.items():
        torch.testing.assert_close(made[name], value, rtol=1e-3, atol=1e-5)
    taken = command("average", run.path, "--length", "0.1", "--name", "power", "--allow-plugins")
    assert "have an average 'power'; choose another --name" in taken.words
