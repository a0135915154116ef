"""Run folders as a reader finds them, written without training."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

__all__ = ["CONFIG_TEXT", "make_grid", "make_run"]

CONFIG_TEXT = """
data: {type: shapes, image_size: 16, size: 60}
model: {type: dit, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, in_channels: 3, out_channels: 3}
vae: {type: identity}
text_encoder: {type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}
scheduler: {type: flow_matching}
training: {output_dir: run, batch_size: 4, max_steps: 100, num_epochs: null, mixed_precision: "no"}
metrics: [{type: shapes, count: 2}]
"""
_GRAYS = 16


def make_run(
    path: Path,
    *,
    state: str = "finished",
    step: int = 100,
    lines: Iterable[Mapping[str, Any] | str] = (),
    grids: Mapping[int, Sequence[str]] | None = None,
    config: str = CONFIG_TEXT,
    **status: Any,
) -> Path:
    """Write a run folder: its metrics as objects or as raw lines, and grids by step with their prompts."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "time": "2026-01-02T03:04:05+00:00"}
    (path / "status.json").write_text(json.dumps({"state": state, "step": step, "reason": "", **owner, **status}))
    machine = {"platform": "Linux", "processor": "A processor", "cores": 2, "threads": 1, "processes": 1}
    provenance = {"run_id": path.name, "time": "2026-01-02T03:00:00+00:00", "arguments": ["x.yaml"], "machine": machine}
    (path / "provenance.json").write_text(json.dumps(provenance))
    texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
    if texts:
        (path / "metrics.jsonl").write_text("".join(texts))
    for grid_step, prompts in (grids or {}).items():
        make_grid(path, grid_step, prompts)
    return path


def make_grid(path: Path, step: int, prompts: Sequence[str], *, side: int = 24) -> Path:
    """Write a grid whose images are plain: image i of step s has the gray level s + 16 i."""
    columns = 1
    while columns**2 < len(prompts):
        columns += 1
    rows = -(-len(prompts) // columns)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, rows * (side + 30) + 4), "white")
    for index in range(len(prompts)):
        level = (step + _GRAYS * index) % 256
        place = (4 + index % columns * (side + 4), 4 + index // columns * (side + 30))
        sheet.paste(Image.new("RGB", (side, side), (level, level, level)), place)
    info = PngInfo()
    info.add_itxt("prompts", "\n".join(prompts))
    info.add_itxt("prompt_list", json.dumps(list(prompts)))
    (path / "samples").mkdir(exist_ok=True)
    file = path / "samples" / f"step-{step:08d}.png"
    sheet.save(file, pnginfo=info)
    return file
