"""The scheduler of each latent shape: one without buckets, that of the resolution with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_parts import CONFIG, CPU

from dit_run import load_config
from dit_run.assembly.parts import build_encoders, build_schedulers

SHAPES = [(3, 16, 16), (3, 64, 64)]


@pytest.mark.parametrize(("buckets", "count"), [("null", 1), ("[16x16,64x64]", 2)])
def test_with_buckets_the_shift_of_time_follows_the_resolution(tmp_path: Path, buckets: str, count: int) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "tiny.yaml", f"data.buckets={buckets}", "scheduler.shift=null")
    scheduler_of = build_schedulers(config, build_encoders(config, CPU))
    drawn = torch.tensor([0.5])
    assert len({scheduler_of(shape).timesteps(drawn).item() for shape in SHAPES}) == count
    assert scheduler_of(SHAPES[0]) is scheduler_of(SHAPES[0])
