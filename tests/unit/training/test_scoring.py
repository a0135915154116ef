"""What metrics compare with: images as they are, whatever augmentation the training uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_parts import assembled

from dit_run.registry.components import Component, Kind
from dit_run.settings import Choice
from dit_run.training.scoring import build_metrics


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing."""


class Keeping:
    """Keeps the images that it would compare with."""

    prompts = score = None
    count = 4

    def __init__(self, references: Any) -> None:
        self.images = [np.asarray(image) for image, _ in references(self.count)]


@pytest.mark.parametrize("split", ["0.5", "1.0"])
def test_references_are_not_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(8):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text("noise")
    data = f"data={{type: custom, dataset_path: {folder}, image_size: 16, train_split: {split}}}"
    plain = references(tmp_path, data)
    augmented = references(tmp_path, data, "data.random_flip=true", "data.crop=random")
    assert len(plain) == 4
    for one, other in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(one, other)


def references(folder: Path, *overrides: str) -> list[Any]:
    parts = assembled(folder, *overrides)
    keeping = Component(Kind.METRIC, "keeping", NoOptions, lambda options, *, references: Keeping(references))
    config = replace(parts.config, sections={**parts.config.sections, "metrics": (Choice(keeping, NoOptions()),)})
    ((_, metric),) = build_metrics(config, parts.data)
    assert isinstance(metric, Keeping)
    return metric.images
