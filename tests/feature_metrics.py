"""Metrics of features on three images, which are their own references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from dit_run import load_config

__all__ = ["scores_of_three"]

CONFIG = "data: {type: shapes}\nmodel: {in_channels: 3, out_channels: 3}\nvae: {type: identity}\n"


def scores_of_three(build: Callable[..., Any], options: Any, folder: Path) -> Mapping[str, float]:
    """Return the scores of three images of one colour each, with the same images held out."""
    path = folder / "c.yaml"
    path.write_text(CONFIG)
    colours = [Image.new("RGB", (32, 32), (80 * index, 0, 0)) for index in range(3)]
    config = load_config(path, "training.device=cpu")
    metric = build(options, config=config, references=lambda count: [(colour, "") for colour in colours[:count]])
    scores: Mapping[str, float] = metric.score(colours, [""] * 3)
    return scores
