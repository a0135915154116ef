"""The transformers encoder: every family at a tiny size, saved as a hub's checkpoint is, against the library itself."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import tiny_autoencoder_kl
from safetensors import safe_open
from text_models import FAMILIES, tiny_text_model, tiny_word_tokenizer
from transformers import AutoModel, AutoTokenizer, T5EncoderModel, UMT5EncoderModel

from dit_run.problems import InputError
from dit_run.protocols import Tokens
from dit_run_plugins.text_encoders.transformers import Transformers
from dit_run_plugins.text_encoders.transformers.text_encoder import TransformersTextEncoder, build

CAPTIONS = ("a red cat", "a dog", "the cat sat on the mat", "a")
LENGTH = 16


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tiny_text_model(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


def opened(folder: Path, **options: Any) -> TransformersTextEncoder:
    return build(Transformers(pretrained_model_name=str(folder), **options))


def library(folder: Path, family: str) -> Any:
    classes = {"t5": T5EncoderModel, "umt5": UMT5EncoderModel}
    whole = classes.get(family, AutoModel).from_pretrained(folder, dtype=torch.float32).eval()
    half = {"siglip": "text_model", "qwen_vl": "language_model"}.get(family)
    return whole if half is None else getattr(whole, half)


@torch.no_grad()
def reference(folder: Path, family: str, text: str) -> Any:
    """What the library returns for one text without padding; SigLIP's is padded to its positions, as it was trained."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rest = {"padding": "max_length", "max_length": LENGTH} if family == "siglip" else {}
    ids = torch.tensor([tokenizer(text, **rest)["input_ids"]])
    return library(folder, family)(input_ids=ids, output_hidden_states=True)


def states_of(encoder: TransformersTextEncoder, captions: tuple[str, ...]) -> tuple[Tokens, torch.Tensor, torch.Tensor]:
    tokens = encoder.tokenize(captions)
    return tokens, *encoder(tokens.ids, tokens.mask)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_library(family: str, model: Callable[[str], Path]) -> None:
    tokens, states, _ = states_of(opened(model(family)), CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        expected = reference(model(family), family, caption).last_hidden_state[0]
        length = min(int(tokens.mask[row].sum()), len(expected))
        assert length >= len(caption.split())
        torch.testing.assert_close(states[row, :length], expected[:length], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_has_the_same_weights_before_they_are_read(family: str, model: Callable[[str], Path]) -> None:
    encoder = opened(model(family), dtype="bf16")
    empty = [(each.shape, each.dtype) for each in encoder.without_weights().parameters()]
    assert not list(encoder.parameters())
    encoder.load()
    assert empty == [(each.shape, each.dtype) for each in encoder.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_stacked_along_the_width(family: str, model: Callable[[str], Path]) -> None:
    encoder = opened(model(family), layers=(0, -2))
    _, states, _ = states_of(encoder, ("a red cat",))
    hidden = reference(model(family), family, "a red cat").hidden_states
    expected = torch.cat([hidden[0], hidden[1]], dim=-1)[0, :3]
    assert encoder.width == encoder.pooled_width == 32
    torch.testing.assert_close(states[0, :3], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_depend_neither_on_padding_nor_on_other_captions(family: str, model: Callable[[str], Path]) -> None:
    encoder = opened(model(family))
    tokens, states, pooled = states_of(encoder, CAPTIONS)
    ids, mask = (torch.nn.functional.pad(each, (0, 4)) for each in (tokens.ids, tokens.mask))
    padded, padded_pooled = encoder(ids, mask)
    torch.testing.assert_close(padded[:, : states.shape[1]][tokens.mask], states[tokens.mask])
    torch.testing.assert_close(padded_pooled, pooled)
    alone, alone_states, alone_pooled = states_of(encoder, CAPTIONS[:1])
    torch.testing.assert_close(alone_states[0], states[0, : alone.ids.shape[1]])
    torch.testing.assert_close(alone_pooled[0], pooled[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoder_reads_from_left_to_right(family: str, model: Callable[[str], Path]) -> None:
    _, one, _ = states_of(opened(model(family)), ("a red cat",))
    _, other, _ = states_of(opened(model(family)), ("a red dog",))
    unchanged = torch.equal(one[0, :2], other[0, :2])
    assert unchanged is (family in ("gemma", "qwen", "qwen_vl"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_empty_caption_has_a_token(family: str, model: Callable[[str], Path]) -> None:
    tokens, states, pooled = states_of(opened(model(family)), ("",))
    assert int(tokens.mask.sum()) >= 1
    assert bool(states.isfinite().all()) and bool(pooled.isfinite().all())


@pytest.mark.parametrize("family", ["t5", "gemma", "qwen"])
def test_the_tokens_of_a_template_are_read_and_cut(family: str, model: Callable[[str], Path]) -> None:
    encoder = opened(model(family), template="user Describe: {caption} on the mat")
    tokens, states, _ = states_of(encoder, ("a red cat", ""))
    markers = family == "gemma"
    whole = reference(model(family), family, "user Describe: a red cat on the mat").last_hidden_state[0]
    assert tokens.mask.sum(1).tolist() == [4, 1]
    torch.testing.assert_close(states[0], whole[2 + markers : 6 + markers], rtol=0, atol=1e-5)
    empty = reference(model(family), family, "user Describe: on the mat").last_hidden_state[0]
    torch.testing.assert_close(states[1, :1], empty[2 + markers : 3 + markers], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("first", lambda states, own: states[0]),
        ("last", lambda states, own: states[-1]),
        ("mean", lambda states, own: states.mean(0)),
        ("model", lambda states, own: own),
    ],
)
def test_the_pooled_vector_is_the_chosen_one(
    pooling: str, expected: Callable[..., torch.Tensor], model: Callable[[str], Path]
) -> None:
    output = reference(model("bert"), "bert", "a dog")
    pooled = states_of(opened(model("bert"), pooling=pooling), ("a red cat", "a dog"))[2]
    torch.testing.assert_close(pooled[1], expected(output.last_hidden_state[0], output.pooler_output[0]))


def test_a_model_without_a_pooled_vector_says_so(model: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match=r"^text_encoder\.pooling is model, but t5 has no pooled vector"):
        states_of(opened(model("t5"), pooling="model"), ("a",))


def test_the_pooled_vector_of_siglip_is_that_of_its_last_position(model: Callable[[str], Path]) -> None:
    pooled = states_of(opened(model("siglip"), pooling="model"), ("a dog",))[2]
    torch.testing.assert_close(pooled, reference(model("siglip"), "siglip", "a dog").pooler_output)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_weights_are_held_in_the_chosen_precision(dtype: str, model: Callable[[str], Path]) -> None:
    encoder = opened(model("t5"), dtype=dtype)
    _, states, _ = states_of(encoder, CAPTIONS)
    exact = states_of(opened(model("t5")), CAPTIONS)[1]
    assert {str(p.dtype) for p in encoder.parameters()} == {{"bf16": "torch.bfloat16", "fp16": "torch.float16"}[dtype]}
    assert states.dtype == torch.float32
    assert 0 < (states - exact).abs().max() < 0.1


def test_long_captions_are_cut_and_counted(model: Callable[[str], Path]) -> None:
    tokens = opened(model("bert"), max_length=5).tokenize(["a red cat", "a red cat sat", "a"])
    assert tokens.truncated == 1
    assert tokens.ids.tolist() == [[1, 4, 5, 8, 2], [1, 4, 5, 8, 2], [1, 4, 2, 0, 0]]


def test_it_is_pickled_without_its_weights(model: Callable[[str], Path]) -> None:
    encoder = opened(model("qwen"))
    copy = pickle.loads(pickle.dumps(encoder))
    assert torch.equal(copy.tokenize(CAPTIONS).ids, encoder.tokenize(CAPTIONS).ids)


def test_the_fingerprint_follows_weights_tokenizer_and_options(model: Callable[[str], Path], tmp_path: Path) -> None:
    other = tiny_text_model(tmp_path / "weights", "t5", seed=1)
    renamed = shutil.copytree(model("t5"), tmp_path / "tokenizer")
    tiny_word_tokenizer(renamed, "<s>", "</s>")
    options: list[dict[str, Any]] = [{}, {"layers": (0,)}, {"pooling": "last"}, {"dtype": "bf16"}, {"max_length": 8}]
    options += [{"template": "a {caption}"}, {"template": "a {caption} a"}]
    prints = {opened(model("t5"), **each).fingerprint() for each in options}
    prints |= {opened(folder).fingerprint() for folder in (other, renamed)}
    assert len(prints) == 9
    assert opened(model("t5")).fingerprint() in prints


def test_parts_of_a_pipeline_are_found_by_their_subfolder(model: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(model("t5"), tmp_path / "text_encoder_2")
    (tmp_path / "tokenizer_2").mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "text_encoder_2" / file).rename(tmp_path / "tokenizer_2" / file)
    expected = states_of(opened(model("t5")), CAPTIONS)[1]
    assert torch.equal(states_of(opened(tmp_path, subfolder="text_encoder_2"), CAPTIONS)[1], expected)
    assert torch.equal(states_of(opened(tmp_path / "text_encoder_2"), CAPTIONS)[1], expected)


def test_shards_of_a_model_are_read(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("qwen"), tmp_path / "qwen")
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(model("qwen")).save_pretrained(folder, max_shard_size="5KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert torch.equal(states_of(opened(folder), CAPTIONS)[1], states_of(opened(model("qwen")), CAPTIONS)[1])


# ----------------------------------------------------------------------------------------------------------- bad input


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^text_encoder\.pretrained_model_name: .*config\.json"):
        opened(tiny_autoencoder_kl(tmp_path))


def test_a_vision_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_size": 8}))
    with pytest.raises(InputError, match=r"holds a vit, not a text encoder: its config\.json has no vocabulary"):
        opened(tmp_path)


def test_an_encoder_decoder_without_a_separate_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bart"}))
    with pytest.raises(InputError, match=r"holds a bart, whose encoder transformers cannot load without its decoder"):
        opened(tmp_path)


def test_a_missing_tokenizer_is_refused(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("t5"), tmp_path / "t5")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"t5 has no tokenizer\.json and no tokenizer/tokenizer\.json and no spiece"):
        opened(folder)


def test_a_broken_tokenizer_is_refused(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("t5"), tmp_path / "t5")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"has a tokenizer that cannot be read"):
        opened(folder)


def test_weights_of_another_shape_are_refused(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("bert"), tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}))
    reason = r"model\.safetensors: \S*intermediate\.dense\.bias is \[32\], expected \[8\]; .* and 3 more"
    with pytest.raises(InputError, match=r"^text_encoder\.pretrained_model_name: .* of its config\.json: .*" + reason):
        states_of(opened(folder), ("a",))


class Code:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("unpickled",)


def test_a_pickle_is_refused_without_running_it(
    model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(model("bert"), tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError) as caught:
        states_of(opened(folder), ("a",))
    assert str(caught.value) == (
        f"text_encoder.pretrained_model_name: {folder} has weights that do not load: {folder / 'pytorch_model.bin'}: "
        "refused, because it is damaged or holds more than tensors, which could run code (print)\nIf you trust the "
        "file, convert it to safetensors."
    )
    assert "unpickled" not in capsys.readouterr().out


def test_a_shard_that_the_index_names_and_the_folder_lacks(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("bert"), tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    with safe_open(folder / "model-00001-of-00002.safetensors", framework="pt") as file:
        places = {name: "model-00001-of-00002.safetensors" for name in file.keys()}  # noqa: SIM118
    places["pooler.dense.weight"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with pytest.raises(InputError, match=r"has no model-00002-of-00002\.safetensors, which model\.safetensors\.index"):
        opened(folder)


def test_missing_weights_are_refused(model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(model("bert"), tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"does not have all weights of the text encoder bert: .*layer\.2"):
        states_of(opened(folder), ("a",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 65}, "text_encoder.max_length is 65, but the model has 64 positions"),
        (
            {"max_length": 64, "template": "a {caption} a"},
            "text_encoder.max_length is 64, but the model has 64 positions, of which the template takes 3",
        ),
        ({"max_length": 2}, "text_encoder.max_length is 2; a caption of one token takes 3 with its markers"),
        ({"layers": (3,)}, "text_encoder.layers has 3; this model has the layers 0 to 2, or -3 to -1"),
        ({"layers": ()}, "text_encoder.layers is empty; this model has the layers 0 to 2, or -3 to -1"),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused(
    options: dict[str, Any], message: str, model: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError) as caught:
        opened(model("bert"), **options)
    assert str(caught.value) == message
