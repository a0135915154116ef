"""Training on a mixture, from the command line: shares, stops, workers, processes, checks, plans and the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import tiny_autoencoder_kl, tiny_clip
from forks import Forks
from image_folders import write_images
from runs import Command, Run, stopped_on_two_processes, stopped_twice, stopping

SHAPES = [(16, 16), (32, 16), (16, 32), (24, 16)]
"""Widths and heights, in turn."""
TWO_CAPTIONS = "image {}\nnumber {}"

PARTS = """
data:
  type: mixture
  train_split: 0.8
  random_flip: true
  parts:
    - {type: custom, dataset_path: photos, weight: 3, name: photos, buckets: [16x16, 12x24, 24x12]}
    - type: custom
      dataset_path: icons
      name: icons
      caption_template: an icon of {text}
      alpha_background: black
      random_flip: false
"""


@pytest.fixture
def words(tmp_path: Path, config: Path) -> tuple[object, ...]:
    """Return the arguments of a run on two folders."""
    write_images(tmp_path / "photos", 23, SHAPES, TWO_CAPTIONS, channels=4)
    write_images(tmp_path / "icons", 9, [(16, 16)], TWO_CAPTIONS, channels=4)
    (tmp_path / "mixture.yaml").write_text(f"extends: {config.name}{PARTS}")
    return (tmp_path / "mixture.yaml", "training.gradient_accumulation_steps=2")


@pytest.mark.slow
def test_stopped_and_continued_it_learns_the_bytes_of_an_uninterrupted_run(
    command: Command, words: tuple[object, ...]
) -> None:
    whole, run = stopped_twice(command, words, 2, 4)
    assert run.learnt() == whole.learnt()
    for name in ("loss", "loss/photos", "share/icons", "validation/loss_ema", "validation/loss/icons"):
        assert run.values(name) == whole.values(name) != []


@pytest.mark.slow
def test_parts_are_logged_with_their_shares(command: Command, words: tuple[object, ...]) -> None:
    said = command(*words, "training.logging_steps=6", "data.parts=[{type: custom, dataset_path: photos, weight: 3, "
                   "name: photos}, {type: custom, dataset_path: icons, name: icons}]")  # fmt: skip
    assert said.status == 0, said.words
    (values,) = (line for line in Run(Path("run")).metrics if "loss/photos" in line)
    assert (values["share/photos"], values["share/icons"]) == (0.75, 0.25)
    mean = 0.75 * values["loss/photos"] + 0.25 * values["loss/icons"]
    assert mean == pytest.approx(values["loss"], rel=1e-5)
    assert "a mixture: 75.0% photos of 16 samples, 25.0% icons of 7 samples" in said.words


@pytest.mark.slow
def test_a_moved_part_continues_and_another_weight_is_refused(command: Command, words: tuple[object, ...]) -> None:
    assert command(*words, *stopping(3)).status == 143
    Path("photos").rename("moved")
    file = Path("mixture.yaml")
    file.write_text(file.read_text().replace("dataset_path: photos", "dataset_path: moved"))
    moved = command(*words, *stopping(99))
    assert moved.status == 0, moved.words
    file.write_text(file.read_text().replace("weight: 3", "weight: 4"))
    said = command(*words, "training.max_steps=8")
    assert said.status == 2 and "data.parts[0].weight: 3.0 -> 4.0" in said.words


@pytest.mark.slow
def test_check_plan_explain_validate_and_cache_know_mixtures(
    command: Command, words: tuple[object, ...], tmp_path: Path
) -> None:
    tiny_autoencoder_kl(tmp_path / "vae")
    latents = ("vae={type: autoencoder_kl, pretrained_model_name: vae}", "model={in_channels: 4, out_channels: 4}",
               "model.patch_size=1", "data.image_size=16")  # fmt: skip
    for name in ("validate", "check", "plan", "explain"):
        said = command(name, *words, "data.train_split=1.0")
        assert said.status == 0, (name, said.words)
    said = command("cache", *words, *latents)
    assert said.status == 0 and "latents of 32 samples" in said.words, said.words


@pytest.mark.slow
def test_it_continues_on_two_processes(words: tuple[object, ...], forks: Forks) -> None:
    whole, run = stopped_on_two_processes(forks, words, 4)
    assert run.learnt() == whole.learnt()


@pytest.mark.slow
def test_photographs_and_emoji_train_and_continue_byte_for_byte(
    command: Command, tmp_path: Path, config: Path, shared_data: Path
) -> None:
    tiny_clip(tmp_path / "clip")
    tiny_autoencoder_kl(tmp_path / "vae")
    (tmp_path / "real.yaml").write_text(
        f"""
extends: {config.name}
data:
  type: mixture
  image_size: 32
  buckets: auto
  num_samples: 60
  parts:
    - {{type: coco, dataset_path: {shared_data / "coco_subset"}, subsets: [train2017], weight: 2}}
    - {{type: custom, dataset_path: {shared_data / "emoji"}, name: emoji, caption_template: "an emoji: {{text}}"}}
model: {{in_channels: 4, out_channels: 4, patch_size: 1}}
vae: {{type: autoencoder_kl, pretrained_model_name: {tmp_path / "vae"}}}
text_encoder: {{type: clip, pretrained_model_name: {tmp_path / "clip"}}}
training: {{max_steps: 12, save_steps: 12, batch_size: 2}}
validation: {{every_n_steps: null}}
"""
    )
    whole, run = stopped_twice(command, ["real.yaml"], 5, 9)
    assert run.learnt() == whole.learnt()
