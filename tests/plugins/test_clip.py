from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import tiny_autoencoder_kl, tiny_clip, tiny_pipeline, tiny_tokenizer
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast

from dit_run.hub import Pretrained
from dit_run.problems import InputError
from dit_run_plugins.text_encoders.clip import Clip
from dit_run_plugins.text_encoders.clip.text_encoder import ClipTextEncoder, build
from dit_run_plugins.text_encoders.clip.tokenizer import ClipTokenizer
from dit_run_plugins.text_encoders.folders import EncoderFolders

CAPTIONS = ("a cat", "", "a red cat sat on the mat", "Ünïcode 猫!!  and\nspace's")


def opened(path: Path) -> ClipTextEncoder:
    return build(Clip(pretrained_model_name=str(path)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def test_states_and_pooled_vectors_are_those_of_transformers(folder: Path) -> None:
    encoder, reference = opened(folder), CLIPTextModel.from_pretrained(folder)
    tokens = encoder.tokenize(CAPTIONS)
    states, pooled = encoder(tokens.ids, tokens.mask)
    with torch.no_grad():
        expected = reference(tokens.ids)
    assert torch.equal(states, expected.last_hidden_state)
    assert torch.equal(pooled, expected.pooler_output)


def test_token_ids_are_those_of_transformers(folder: Path) -> None:
    vocab = json.loads((folder / "vocab.json").read_text())
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    reference = CLIPTokenizerFast(vocab=vocab, merges=merges)
    expected = reference(list(CAPTIONS), padding="max_length", max_length=77, return_tensors="pt")
    tokens = opened(folder).tokenize(CAPTIONS)
    assert torch.equal(tokens.ids, expected["input_ids"])
    assert torch.equal(tokens.mask, expected["attention_mask"].bool())


def test_a_tokenizer_json_gives_the_same_ids(folder: Path, tmp_path: Path) -> None:
    vocab = json.loads((folder / "vocab.json").read_text())
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    CLIPTokenizerFast(vocab=vocab, merges=merges).save_pretrained(tmp_path)
    tokenizer = ClipTokenizer(EncoderFolders(Pretrained(str(tmp_path), "key")), 77)
    assert (tmp_path / "tokenizer.json").is_file()
    assert torch.equal(tokenizer(CAPTIONS).ids, opened(folder).tokenize(CAPTIONS).ids)


def test_clips_own_vocabulary_gives_clips_own_ids(shared_data: Path, tmp_path: Path) -> None:
    size = tiny_tokenizer(tmp_path, shared_data / "weights" / "clip_tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    tokens = ClipTokenizer(EncoderFolders(Pretrained(str(tmp_path), "key")), 77)(["a photo of a cat"])
    assert size == 49408
    assert tokens.ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]
    assert tokens.mask.sum() == 7


def test_long_captions_are_cut_and_counted(folder: Path) -> None:
    encoder = opened(folder)
    tokens = encoder.tokenize(["x " * 75, "x " * 76, "x " * 200])
    assert tokens.truncated == 2
    assert tokens.ids.shape == (3, 77) and bool(tokens.mask.all())
    ends = tokens.ids[:, -1].tolist()
    assert len(set(ends)) == 1 and ends[0] == encoder.tokenize([""]).ids[0, 1]


def test_the_empty_caption_is_its_two_markers(folder: Path) -> None:
    assert opened(folder).tokenize([""]).mask.sum() == 2


def test_padding_does_not_reach_the_states_of_real_tokens(folder: Path) -> None:
    encoder = opened(folder)
    tokens = encoder.tokenize(["a cat"])
    padded, pooled = encoder(tokens.ids, tokens.mask)
    short, short_pooled = encoder(tokens.ids[:, :4], tokens.mask[:, :4])
    torch.testing.assert_close(padded[:, :4], short)
    torch.testing.assert_close(pooled, short_pooled)


@pytest.mark.parametrize("width", [512, 768])
def test_width_is_known_before_weights_are_read(tmp_path: Path, width: int) -> None:
    encoder = opened(tiny_clip(tmp_path, width=width, layers=1))
    assert (encoder.width, encoder.pooled_width, encoder.max_length) == (width, width, 77)
    assert not encoder._network.loaded
    states, pooled = encoder(*encoder.tokenize(["a cat"])[:2])
    assert states.shape == (1, 77, width) and pooled.shape == (1, width)


def test_its_network_has_the_same_weights_before_they_are_read(folder: Path) -> None:
    encoder = opened(folder)
    empty = {name: each.shape for name, each in encoder.without_weights().named_parameters()}
    encoder.load()
    network = encoder._network.network
    assert network is not None
    assert empty == {name: each.shape for name, each in network.named_parameters()}


def test_it_never_changes(folder: Path) -> None:
    encoder = opened(folder).train()
    encoder(*encoder.tokenize(["a"])[:2])
    assert not encoder.trainable
    assert not any(module.training for module in encoder._network.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_text_tower_of_a_whole_clip_is_taken(tmp_path: Path) -> None:
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**text, "image_size": 32, "patch_size": 16}
    size = tiny_tokenizer(tmp_path)
    text |= {"vocab_size": size, "eos_token_id": size - 1, "bos_token_id": size - 2}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(tmp_path)
    encoder = opened(tmp_path)
    tokens = encoder.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model.eval().text_model(tokens.ids).last_hidden_state
    assert encoder.width == 32
    assert torch.equal(encoder(tokens.ids, tokens.mask)[0], expected)


def test_a_pipelines_text_encoder_and_tokenizer_are_found(folder: Path, tmp_path: Path) -> None:
    bare, pipeline = opened(folder), opened(tiny_pipeline(tmp_path))
    tokens = pipeline.tokenize(CAPTIONS)
    assert torch.equal(pipeline(tokens.ids, tokens.mask)[0], bare(tokens.ids, tokens.mask)[0])


def test_the_second_encoder_of_a_pipeline_is_found(folder: Path, tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path)
    second = tiny_clip(tmp_path / "text_encoder_2", width=16, seed=3)
    (tmp_path / "tokenizer_2").mkdir()
    for file in ("vocab.json", "merges.txt"):
        (second / file).rename(tmp_path / "tokenizer_2" / file)
    reference = CLIPTextModel.from_pretrained(second)
    encoders = build(Clip(pretrained_model_name=str(pipeline), subfolder="text_encoder_2")), opened(second)
    for encoder in encoders:
        tokens = encoder.tokenize(CAPTIONS)
        with torch.no_grad():
            expected = reference(tokens.ids).last_hidden_state
        assert encoder.width == 16
        assert torch.equal(encoder(tokens.ids, tokens.mask)[0], expected)


def test_an_encoder_with_a_projection_gives_the_states_before_it(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "clip")
    model = CLIPTextModelWithProjection.from_pretrained(folder)
    model.save_pretrained(copy)
    encoder = opened(copy)
    tokens = encoder.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model.eval()(tokens.ids).last_hidden_state
    assert json.loads((copy / "config.json").read_text())["architectures"] == ["CLIPTextModelWithProjection"]
    assert torch.equal(encoder(tokens.ids, tokens.mask)[0], expected)


def test_missing_weights_are_never_made_up(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layers.1.mlp.fc1.weight" in name)
    for file in ("config.json", "vocab.json", "merges.txt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    save_file(
        {key: value for key, value in tensors.items() if key != name}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    encoder = opened(tmp_path)
    with pytest.raises(
        InputError, match=r"text_encoder\.pretrained_model_name: .* does not have all weights .*fc1\.weight"
    ):
        encoder(*encoder.tokenize(["a"])[:2])


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("length", [0, 9000])
def test_damaged_weights_are_refused_by_key_and_name(folder: Path, tmp_path: Path, file: str, length: int) -> None:
    copy = shutil.copytree(folder, tmp_path / "clip")
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").unlink()
    (copy / file).write_bytes(whole[:length])
    encoder = opened(copy)
    tokens = encoder.tokenize(["a cat"])
    with pytest.raises(InputError) as caught:
        encoder(tokens.ids, tokens.mask)
    assert str(caught.value).startswith(f"text_encoder.pretrained_model_name: {copy} has weights that do not load: ")
    assert str(copy / file) in str(caught.value)


@pytest.mark.parametrize("shards", ["20KB", "50GB"])
@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
def test_shards_and_variants_of_the_weights_are_found(
    folder: Path, tmp_path: Path, shards: str, variant: str | None
) -> None:
    dtype = {None: torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[variant]
    model = CLIPTextModel.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(tmp_path, max_shard_size=shards, variant=variant)
    for file in ("vocab.json", "merges.txt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    encoder = opened(tmp_path)
    tokens = encoder.tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model.float()(tokens.ids).last_hidden_state
    assert torch.equal(encoder(tokens.ids, tokens.mask)[0], expected)


@pytest.mark.parametrize("file", ["config.json", "merges.txt", "model.safetensors"])
def test_a_git_lfs_pointer_is_refused_before_anything_is_encoded(folder: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "clip")
    (copy / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    with pytest.raises(InputError, match=rf"text_encoder\.pretrained_model_name: .*{file} is a Git LFS pointer"):
        opened(copy)


def test_a_folder_without_a_text_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a CLIP text encoder"):
        opened(tiny_autoencoder_kl(tmp_path))


@pytest.mark.parametrize(
    ("file", "content"),
    [("vocab.json", b""), ("vocab.json", b"{}"), ("merges.txt", b"a b c\n"), ("merges.txt", b"\xff\xfe")]
    + [("tokenizer.json", content) for content in (b"", b"{}", b"junk")],
)
def test_a_broken_tokenizer_is_refused_by_key_and_name(folder: Path, tmp_path: Path, file: str, content: bytes) -> None:
    copy = shutil.copytree(folder, tmp_path / "clip")
    (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=r"^text_encoder\.pretrained_model_name: .*tokenizer (that cannot be|without)"):
        opened(copy)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"has no tokenizer\.json and no .* vocab\.json"):
        opened(tmp_path)


def test_the_fingerprint_follows_weights_and_tokenizer(folder: Path, tmp_path: Path) -> None:
    other = tiny_clip(tmp_path / "weights", seed=1)
    cut = tiny_clip(tmp_path / "tokenizer")
    merges = (cut / "merges.txt").read_text().splitlines()
    (cut / "merges.txt").write_text("\n".join(merges[:-1]) + "\n")
    assert len({opened(path).fingerprint() for path in (folder, other, cut)}) == 3
    assert opened(folder).fingerprint() == opened(folder).fingerprint()


@pytest.mark.slow
def test_tokenizing_and_fingerprints_do_not_import_transformers(folder: Path) -> None:
    code = (
        "import sys\nfrom dit_run_plugins.text_encoders.clip import Clip\n"
        "from dit_run_plugins.text_encoders.clip.text_encoder import build\n"
        f"encoder = build(Clip(pretrained_model_name={str(folder)!r}))\n"
        "encoder.tokenize(['a cat']), encoder.fingerprint()\nassert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
