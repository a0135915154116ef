"""Scores of a trained run by the shapes metric, as `dit-run eval` gives them, on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from dit_run.sampling.sampling_request import SamplingRequest

__all__ = ["SAMPLING_STEPS", "score_run"]

SAMPLING_STEPS = 12
"""Steps of dpm-solver++."""


def score_run(
    run: Path, prompts: int, *changes: str, checkpoint: str | None = None, averaged: bool = True
) -> tuple[dict[str, float], bool]:
    """Return the scores of a checkpoint on prompts of unseen images, and True if averaged weights made the samples.

    Without a checkpoint it is the newest one.
    """
    import torch

    from dit_run.assembly.prepare import build_data
    from dit_run.reporting import Silent
    from dit_run.sampling.load_run import load_run
    from dit_run.training.scoring import build_metrics, score

    torch.set_num_threads(1)
    fixed = [
        f"metrics=[{{type: shapes, count: {prompts}}}]",
        "data.num_samples=100",  # none of them is used
        "sampling.sampler=dpm-solver++",
        f"sampling.steps={SAMPLING_STEPS}",
    ]
    trained = load_run(run, *fixed, *changes, checkpoint=checkpoint, ema=averaged, allow_plugins=True)
    data = build_data(trained.config)

    def sample(request: SamplingRequest, name: str) -> list[Image]:
        return trained.pipeline.generate(request, Silent())

    found = score(build_metrics(trained.config, data), trained.config, data, sample)
    return found, averaged and trained.config.training.use_ema
