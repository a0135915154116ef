"""The race: its clock, its scores and its row, without any training."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dit_run import load_config

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "race"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("measuring", "race", "race.__main__", "race_clock", "race_tasks"):
        sys.modules.pop(name, None)


@pytest.fixture
def main() -> ModuleType:
    return importlib.import_module("race.__main__")


def ticking(*times: float) -> Any:
    return iter(times).__next__


def test_the_clock_counts_steps_and_not_what_lies_between_stretches() -> None:
    from race_clock import Clock

    clock = Clock("cpu", now=ticking(10.0, 13.0, 14.0, 100.0, 101.5))
    clock.target = 2
    clock.begin(0, 3)
    clock.step(1, 0.5)
    assert (clock.seconds, clock.due()) == (3.0, False)
    clock.step(2, 0.5)
    assert (clock.seconds, clock.due()) == (4.0, True)
    clock.target = 3
    assert not clock.due()
    clock.begin(2, 3)  # after 86 seconds of saving and scoring
    clock.step(3, 0.5)
    assert (clock.seconds, clock.steps, clock.taken) == (5.5, 3, [3.0, 1.0, 1.5])
    assert clock.typical == 1.5


def test_the_clock_ends_a_stretch_when_the_time_is_over() -> None:
    from race_clock import Clock

    clock = Clock("cpu", limit=2.0, now=ticking(0.0, 1.0, 2.5))
    clock.target = 9
    clock.begin(0, 9)
    clock.step(1, None)
    assert not clock.due()
    clock.step(2, None)
    assert clock.due() and clock.over


def test_true_emoji_score_one_and_others_about_chance(tmp_path: Path) -> None:
    from race_tasks import Emoji

    generator = np.random.default_rng(0)
    lines = []
    for index in range(20):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        lines.append(f'{{"file_name": "{index}.png", "text": "name {index}"}}')
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    task = Emoji(str(tmp_path))
    config = load_config(BENCHMARKS / "race" / "configs" / "ours.yaml", *task.changes())
    prompts = task.prompts(config, 8)
    images = [Image.open(tmp_path / f"{prompt.removeprefix('name ')}.png") for prompt in prompts]
    assert len(set(prompts)) == 8
    assert task.score(images, prompts) == (pytest.approx(1.0), pytest.approx(0.0))
    value, error = task.score([images[0]] * 8, prompts)
    assert value == pytest.approx(0.0)  # one of eight is right: chance
    assert error == pytest.approx((7 / 64 / 8) ** 0.5 / (7 / 8))


def test_prompts_of_shapes_lie_beyond_the_images_that_are_trained_on() -> None:
    from race_tasks import ShapesTask

    from dit_run_plugins.datasets.shapes.scenes import scene_at

    task = ShapesTask()
    config = load_config(BENCHMARKS / "race" / "configs" / "ours.yaml", *task.changes())
    assert config.data.options.size == 100_000
    assert task.prompts(config, 2) == [scene_at(100_000, 0).caption, scene_at(100_001, 0).caption]


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "race" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("data", ["shapes", "emoji"])
def test_every_entry_takes_the_changes_that_a_race_makes(path: Path, data: str, main: ModuleType) -> None:
    from race_tasks import TASKS

    config = load_config(path, *main.fixed(TASKS[data]("emoji"), "cpu", 2), "training.max_steps=100")
    assert (config.training.seed, config.training.num_threads, config.training.save_steps) == (2, 1, 10**9)
    assert config.data.type == {"shapes": "shapes", "emoji": "custom"}[data]
    assert (config.metrics, config.trackers, config.sampling.sampler) == ((), (), "dpm-solver++")


def test_the_row_names_the_best_score_and_its_time(main: ModuleType) -> None:
    marks = [
        main.Mark(60.0, 10, 0.5, 0.02, False),
        main.Mark(120.0, 20, 0.7, 0.01, True),
        main.Mark(180.0, 30, 0.6, 0.01, True),
    ]
    entry = {"config": "mine", "changes": ["a.b=1"], "data": "shapes", "device": "cpu", "seed": 1, "until": None}
    assert main.row(entry, marks) == "| mine a.b=1 | shapes | cpu | 1 | 30 | 180 s | 70.0% ± 1.0% | 120 s |"
    assert main.row({**entry, "until": 0.45}, marks[:1]).endswith("| 50.0% ± 2.0% | 60 s (goal 45.0%) |")
    assert main.row({**entry, "until": 0.9}, marks).endswith("| 70.0% ± 1.0% | not reached (goal 90.0%) |")


def test_changes_and_options_may_be_mixed(main: ModuleType) -> None:
    options = main.arguments(["my.yaml", "--seed", "3", "a.b=1", "--until", "0.5", "c=2"])
    assert (options.config, options.changes, options.seed, options.until) == (Path("my.yaml"), ["a.b=1", "c=2"], 3, 0.5)
