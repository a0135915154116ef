"""clip_score: cosines of pictures and captions as transformers' own CLIP gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import tiny_clip, tiny_clip_pair, tiny_dinov2
from PIL import Image

from dit_run import load_config
from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run.settings import Config
from dit_run_plugins.metrics.clip_score import ClipScore, build
from dit_run_plugins.metrics.vision_models import ClipModel

CAPTIONS = ["a red cat", "cat", "a dog on the mat at night", ""]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text("data: {type: shapes}\nmodel: {in_channels: 3, out_channels: 3}\nvae: {type: identity}\n")
    return load_config(path, "training.device=cpu")


def pictures() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in CAPTIONS]


def test_cosines_are_those_of_the_whole_model(tmp_path: Path) -> None:
    from transformers import CLIPModel

    folder = tiny_clip_pair(tmp_path / "clip")
    clip = ClipModel(Pretrained(str(folder), "key"), torch.device("cpu"))
    pixels = torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures()]))
    pixels = ((pixels / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
    model = CLIPModel.from_pretrained(folder)
    tokens = clip._tokenizer(CAPTIONS)
    with torch.no_grad():
        output = model(input_ids=tokens.ids, pixel_values=pixels, attention_mask=tokens.mask.long())
    expected = (output.image_embeds * output.text_embeds).sum(1)
    torch.testing.assert_close(torch.from_numpy(clip.cosines(pictures(), CAPTIONS)), expected, rtol=1e-4, atol=1e-5)


def test_the_score_is_the_mean_of_positive_cosines_times_a_hundred(tmp_path: Path, config: Config) -> None:
    folder = tiny_clip_pair(tmp_path / "clip-tiny")
    metric = build(ClipScore(pretrained_model_name=str(folder), count=4), config=config)
    cosines = ClipModel(Pretrained(str(folder), "key"), torch.device("cpu")).cosines(pictures(), CAPTIONS)
    scores = metric.score(pictures(), CAPTIONS)
    positive = 100 * np.maximum(cosines, 0)
    assert scores == {
        "clip-tiny_n4": pytest.approx(positive.mean(), rel=1e-5),
        "clip-tiny_n4/standard_error": pytest.approx(positive.std() / 2, rel=1e-5),
    }
    assert (metric.count, metric.prompts(4)) == (4, None)


@pytest.mark.parametrize("make", [tiny_clip, tiny_dinov2])
def test_what_is_no_clip_with_both_towers_is_refused(tmp_path: Path, config: Config, make: object) -> None:
    folder = make(tmp_path / "other")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"metrics \(clip_score\)\.pretrained_model_name"):
        build(ClipScore(pretrained_model_name=str(folder)), config=config)
