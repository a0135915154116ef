"""Runs with text encoders of every family: train, cache, continue and sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from builders import tiny_clip, tiny_clip_pair, tiny_tokenizer
from runs import Command, Run, Train
from text_models import FAMILIES, tiny_text_model
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

LONG = ("training.max_steps=20", "training.save_steps=10", "validation.every_n_steps=null")


def encoder(folder: Path, more: str = "") -> str:
    return f"text_encoder={{type: transformers, pretrained_model_name: {folder}{more}}}"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_caches_continues_and_samples(
    family: str, train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    given = (*LONG, encoder(tiny_text_model(tmp_path / family, family)), "cache.dir=cache")
    whole = train(*given, output="whole")
    assert list((tmp_path / "cache" / "captions").glob("*/*.safetensors"))
    uncached = train(*given, "cache.mode=off", output="uncached")
    assert uncached.learnt() == whole.learnt()
    half = train(*given, "training.max_steps=10", output="half")
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == whole.learnt()
    assert command("sample", "whole", "a red circle", "--output", "new.png").status == 0
    assert (tmp_path / "new.png").stat().st_size > 0


PIXART = "model={type: pixart, hidden_size: 16, num_layers: 1, num_heads: 2, patch_size: 4, sample_size: 16}"


@pytest.mark.slow
@pytest.mark.parametrize("model", [(), (PIXART,)], ids=["dit", "pixart"])
@pytest.mark.parametrize("trained", ["", "{type: words, width: 8, num_layers: 1, num_heads: 2, buckets: 64}, "])
def test_several_encoders_train_cache_continue_and_sample_together(
    trained: str, model: tuple[str, ...], train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    clip, t5 = tiny_clip(tmp_path / "clip"), tiny_text_model(tmp_path / "t5", "t5")
    frozen = f"{{type: clip, pretrained_model_name: {clip}}}, {{type: transformers, pretrained_model_name: {t5}"
    several = f"text_encoder=[{trained}{frozen}, caption_dropout: 0.4}}]"
    given = (*LONG, several, *model, "cache.dir=cache")
    whole = train(*given, output="whole")
    assert len(list((tmp_path / "cache" / "captions").iterdir())) == 2
    uncached = train(*given, "cache.mode=off", output="uncached")
    assert uncached.learnt() == whole.learnt()
    half = train(*given, "training.max_steps=10", output="half")
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == whole.learnt()
    result = command("sample", "whole", "a red circle", "--negative-prompt", "a blue square", "--output", "new.png")
    assert result.status == 0
    assert (tmp_path / "new.png").stat().st_size > 0


@pytest.mark.slow
def test_a_whole_clip_and_the_second_encoder_of_a_pipeline(
    train: Train, command: Command, config: Path, tmp_path: Path
) -> None:
    whole, pipeline = tiny_clip_pair(tmp_path / "whole"), tmp_path / "pipeline"
    size = tiny_tokenizer(pipeline / "tokenizer_2")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    projected = CLIPTextModelWithProjection(CLIPTextConfig(**shape, **ids, vocab_size=size, projection_dim=8))
    projected.save_pretrained(pipeline / "text_encoder_2")
    second = f"{{type: clip, pretrained_model_name: {pipeline}, subfolder: text_encoder_2}}"
    given = (
        f"text_encoder=[{{type: clip, pretrained_model_name: {whole}}}, {second}]",
        "cache.dir=cache",
        "validation.every_n_steps=null",
    )
    done = train(*given, output="done")
    assert train(*given, "cache.mode=off", output="uncached").learnt() == done.learnt()
    half = train(*given, "training.max_steps=3", output="half")
    assert command(config, *given, "training.output_dir=half").status == 0
    assert Run(half.path).learnt() == done.learnt()
    assert command("sample", "done", "a red circle", "--output", "new.png").status == 0


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
    result = command(config, encoder(folder))
    assert result.status == 2
    assert f"text_encoder.pretrained_model_name: {folder} has no tokenizer.json" in result.words
    assert not Path("run").exists()
    shutil.rmtree(folder)
