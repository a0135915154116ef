"""Validation, previews and scores by all processes: the numbers and images of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from forks import Forks
from runs import Command, Run, as_if_killed_after_saving

WORDS = (
    "training.batch_size=2",
    "training.gradient_accumulation_steps=12",
    "training.max_steps=2",
    "training.save_steps=2",
    "validation={every_n_steps: 2, num_samples: 11, timestep_bins: 2}",
    "sampling={every_n_steps: 2, num_images: 35, steps: 2, guidance_scale: 2.0}",
    "metrics=[{type: shapes, count: 80}]",
)
TIMES = ("time", "images_per_second", "tokens_per_second", "memory_gb")


@pytest.mark.slow
def test_the_evaluation_of_several_processes_is_that_of_one(command: Command, config: Path, forks: Forks) -> None:
    assert command(config, *WORDS, "training.output_dir=one").status == 0
    one = Run(Path("one"))
    for processes, shard in ((3, 1), (4, 2)):
        several = Run(Path(f"by-{processes}"))
        shutil.copytree(one.path, several.path)
        as_if_killed_after_saving(several, 2)
        words = (*WORDS, f"training.shard={shard}", f"training.output_dir={several.path}")
        ended = forks.run(config, *words, processes=processes)
        assert set(ended.statuses) == {0}, ended.output
        assert logged(several) == logged(one)
        image = "samples/step-00000002.png"
        assert (several.path / image).read_bytes() == (one.path / image).read_bytes()
    assert {"validation/loss_ema_part_1", "probe/standard_error", "shapes/attributes_right"} <= logged(one).keys()


def logged(run: Run) -> dict[str, Any]:
    """The values of the last step that do not tell of time or memory."""
    return {name: value for name, value in run.metrics[-1].items() if name not in TIMES}
