"""A model that sees eight captioned pictures over and over draws them from their captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import Command

from dit_run_plugins.datasets.shapes.dataset import paint_scene
from dit_run_plugins.datasets.shapes.scenes import scene_at

CONFIG = """
data: {type: custom, dataset_path: images, image_size: 32, train_split: 1.0}
model:
  hidden_size: 96
  num_layers: 3
  num_heads: 3
  patch_size: 4
  in_channels: 3
  out_channels: 3
  dropout: 0.0
  norm: layernorm
  mlp: gelu
vae: {type: identity}
text_encoder: {type: words, width: 64, num_layers: 1}
scheduler: {type: flow_matching}
lr_scheduler: {type: cosine, warmup_steps: 20}
optimizer: {type: muon}
training:
  output_dir: run
  batch_size: 8
  learning_rate: 0.01
  num_epochs: 100000
  max_steps: 260
  mixed_precision: "no"
  use_ema: true
  ema_decay: 0.98
  num_workers: 0
validation: {every_n_steps: null}
sampling: {every_n_steps: null, steps: 20, guidance_scale: 1.0}
trackers: []
"""


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB."""
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


@pytest.mark.slow
def test_eight_pictures_come_back_from_their_captions(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    Path("images").mkdir()
    scenes = [scene_at(index, seed=3) for index in range(8)]
    pictures = {each.caption: paint_scene(each, index, seed=3, size=32) for index, each in enumerate(scenes)}
    assert len(pictures) == 8
    for index, (text, picture) in enumerate(pictures.items()):
        picture.save(f"images/{index}.png")
        Path(f"images/{index}.txt").write_text(text)

    assert command("config.yaml").status == 0
    assert command("sample", "run", *pictures, "--output", "drawn").status == 0
    drawn = [Image.open(path) for path in sorted(Path("drawn").glob("0*.png"))]
    scores = [psnr(image, picture) for image, picture in zip(drawn, pictures.values(), strict=True)]
    assert np.mean(scores) >= 20, scores
