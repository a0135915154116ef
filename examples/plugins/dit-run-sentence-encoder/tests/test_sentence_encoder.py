"""The sentence encoder keeps the contract of a text encoder, and trains a model. Its network is tiny and random."""

import pytest
import torch
from dit_run_sentence_encoder.encoder import build
from dit_run_sentence_encoder.plugin import Sentence
from transformers import BertConfig, BertModel, BertTokenizerFast

from dit_run.problems import InputError
from dit_run.testing import check_plugin, check_text_encoder
from dit_run.testing.fixtures import run_config

__all__ = ["run_config"]

WORDS = ("a", "red", "green", "circle", "square", "to", "the", "left", "of", "yellow", "cross", "on", "white", "word")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Save a BERT of one layer with a vocabulary of a few words."""
    path = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(vocab=str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(path)
    return path


def test_plugin(folder):
    check_plugin("dit_run_sentence_encoder", {"text_encoder.sentence": {"pretrained_model_name": folder}})


def test_contract(folder):
    check_text_encoder("sentence", pretrained_model_name=folder)


def test_the_fingerprint_follows_the_settings(folder):
    one, other = (build(Sentence(pretrained_model_name=str(folder), max_length=length)) for length in (32, 64))
    assert one.fingerprint() != other.fingerprint()


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"^text_encoder\.pretrained_model_name: .* cannot be loaded: "):
        build(Sentence(pretrained_model_name=str(tmp_path)))


def test_it_trains_a_model(run_config, folder):
    run = run_config(f"text_encoder: {{type: sentence, pretrained_model_name: {folder}}}")
    assert run.errors == ()
    assert len(run.metrics) == 2
