"""Stages of resolution: the three shipped configs, one after the other, on a model and images that are tiny."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import write_images
from runs import CONFIG, Command, Run

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
STAGES = {"stage-256": 16, "stage-512": 32, "stage-1024": 64}
"""Shipped configs in their order, and the size of images here."""
SHAPES = [(20, 20), (80, 80), (40, 24), (160, 90), (48, 64)]

TINY = CONFIG.partition("model:")
PARTS = f"""
data: {{dataset_path: images, train_split: 0.8}}
model: {TINY[2].partition("training:")[0].strip()}
training: {{max_steps: 3, batch_size: 2, gradient_accumulation_steps: 2, learning_rate: 0.001, num_workers: 0,
  mixed_precision: "no", compile_model: false, num_threads: 1, logging_steps: 1}}
validation: {{every_n_steps: 3, num_samples: 4}}
sampling: {{every_n_steps: 3, num_images: 1, steps: 2}}
trackers: []
"""


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Configs that extend the shipped ones, in a working directory with images."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 25, SHAPES)
    (tmp_path / "tiny.yaml").write_text(PARTS)
    for name, side in STAGES.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"extends: [{CONFIGS / name}.yaml, tiny.yaml]\ndata: {{image_size: {side}}}"
        )
    return [tmp_path / f"{name}.yaml" for name in STAGES]


@pytest.mark.slow
def test_each_stage_begins_with_the_weights_of_the_one_before(command: Command, stages: list[Path]) -> None:
    said = [command(stage) for stage in stages]
    assert [each.status for each in said] == [0, 0, 0], said[-1].words
    runs = [Run(Path("outputs") / name) for name in STAGES]
    count = len(runs[0].tensors())
    for before, now, stage in zip(runs, said[1:], stages[1:], strict=False):
        source = f"training.init_from outputs/{before.path.name}/checkpoints/step-00000003"
        taken = f"{source}: {count} tensors taken, 0 resized, 0 left out; 0 of the model begin with initial weights"
        assert taken in now.words, stage
    assert [run.status["step"] for run in runs] == [3, 3, 3]
