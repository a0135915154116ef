"""Runs with text encoders of every family: train, cache, continue and sample."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from builders import tiny_clip, tiny_clip_pair, tiny_projected_clip
from runs import AllStages, Command, Repository, Train
from text_models import FAMILIES, tiny_text_model


def of_transformers(family: str, repository: Repository) -> str:
    tiny_text_model(repository("model"), family)
    return "{type: transformers, pretrained_model_name: tiny/model}"


def of_clip(make: Callable[[Path], Path], repository: Repository) -> str:
    make(repository("clip"))
    return "{type: clip, pretrained_model_name: tiny/clip}"


def two_clips(repository: Repository) -> str:
    """A whole CLIP, and the second encoder of a pipeline."""
    pipeline = repository("pipeline")
    tiny_projected_clip(pipeline / "text_encoder_2", pipeline / "tokenizer_2")
    second = "{type: clip, pretrained_model_name: tiny/pipeline, subfolder: text_encoder_2}"
    return f"[{of_clip(tiny_clip_pair, repository)}, {second}]"


ENCODERS: Mapping[str, Callable[[Repository], str]] = {
    **{family: partial(of_transformers, family) for family in FAMILIES},
    "clip": partial(of_clip, tiny_clip),
    "projected clip": partial(of_clip, tiny_projected_clip),
    "two clips": two_clips,
}
"""What makes tiny models of each family and returns the value of ``text_encoder`` that names them."""


@pytest.mark.slow
@pytest.mark.parametrize("family", ENCODERS)
def test_a_family_trains_caches_continues_and_samples(
    family: str, repository: Repository, all_stages: AllStages
) -> None:
    all_stages(f"text_encoder={ENCODERS[family](repository)}", cached="captions")


PIXART = "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, sample_size: 16}"


@pytest.mark.slow
@pytest.mark.parametrize("model", [(), (PIXART,)], ids=["dit", "pixart"])
@pytest.mark.parametrize("trained", ["", "{type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}, "])
def test_several_encoders_train_cache_continue_and_sample_together(
    trained: str, model: tuple[str, ...], all_stages: AllStages, tmp_path: Path
) -> None:
    clip, t5 = tiny_clip(tmp_path / "clip"), tiny_text_model(tmp_path / "t5", "t5")
    frozen = f"{{type: clip, pretrained_model_name: {clip}}}, {{type: transformers, pretrained_model_name: {t5}"
    all_stages(f"text_encoder=[{trained}{frozen}, caption_dropout: 0.4}}]", *model, cached="captions")
    assert len(list((tmp_path / "cache" / "captions").iterdir())) == 2


@pytest.mark.slow
def test_the_format_of_states_is_the_same_with_and_without_a_cache(
    train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    clip, t5 = tiny_clip(tmp_path / "clip"), tiny_text_model(tmp_path / "t5", "t5")
    texts = f"{{type: clip, pretrained_model_name: {clip}}}, {{type: transformers, pretrained_model_name: {t5}}}"
    given = (f"text_encoder=[{texts}]", "cache.text_dtype=fp8", "cache.max_tokens=3", "validation.every_n_steps=null")
    small = train(*given, "cache.dir=cache", output="small")
    uncached = train(*given, "cache.mode=off", output="uncached")
    whole = train(given[0], given[3], "cache.mode=off", output="whole")
    assert small.learnt() == uncached.learnt()
    assert small.learnt() != whole.learnt()
    assert command("sample", "small", "a red circle", "--output", "new.png").status == 0


@pytest.mark.slow
def test_an_error_of_one_of_several_encoders_names_it(command: Command, config: Path, tmp_path: Path) -> None:
    t5 = tiny_text_model(tmp_path / "t5", "t5")
    result = command(
        config,
        f"text_encoder=[{{type: words, width: 8}}, {{type: transformers, pretrained_model_name: {t5}, max_length: 1}}]",
    )
    assert result.status == 2
    assert "text_encoder[1] (transformers): text_encoder.max_length is 1" in result.words


@pytest.mark.slow
def test_a_folder_that_is_no_encoder_is_refused_before_training(command: Command, config: Path, tmp_path: Path) -> None:
    folder = tiny_text_model(tmp_path / "t5", "t5")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    result = command(config, f"text_encoder={{type: transformers, pretrained_model_name: {folder}}}")
    assert result.status == 2
    assert f"text_encoder.pretrained_model_name: {folder} has no tokenizer.json" in result.words
    assert not Path("run").exists()
    shutil.rmtree(folder)
