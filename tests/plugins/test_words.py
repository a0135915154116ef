"""words: a tokenizer without a vocabulary and the small encoder behind it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dit_run.protocols import Facts, RuleContext
from dit_run_plugins.text_encoders.words import Words, heads_divide
from dit_run_plugins.text_encoders.words.text_encoder import build
from dit_run_plugins.text_encoders.words.tokenizer import PADDING, START, token_ids, words_of


def make(**options):
    torch.manual_seed(0)
    return build(Words(**{"width": 16, "num_heads": 2, "buckets": 64, **options})).eval()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A red Circle, on a BLACK background.", ["a", "red", "circle", ",", "on", "a", "black", "background", "."]),
        ("Straße 42", ["strasse", "4", "2"]),
        ("赤い丸と dog", ["赤", "い", "丸", "と", "dog"]),
        ("красный круг", ["красный", "круг"]),
        ("smile 😀👍", ["smile", "😀", "👍"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_captions_are_cut_into_words(caption, expected):
    assert words_of(caption) == expected


@given(st.text(max_size=300))
def test_any_text_has_tokens_within_the_limit(caption):
    ids, cut = token_ids(caption, 77)
    assert ids[0] == START and len(ids) <= 77
    assert all(1 < token < 2**62 for token in ids[1:])
    assert cut == (len(words_of(caption)) > 76)


def test_ids_are_the_same_everywhere():
    assert token_ids("red circle", 77)[0] == [1, 250589608310641194, 3413952099700865122]


def test_longer_captions_are_cut_and_counted():
    tokens = make(max_length=4).tokenize(["one two three", "one two three four", "", "a b c d e f"])
    assert tokens.truncated == 2
    assert tokens.mask.sum(1).tolist() == [4, 4, 1, 4]
    assert tokens.ids.shape == (4, 4) and (tokens.ids[~tokens.mask] == PADDING).all()


def test_states_do_not_depend_on_padding_or_neighbours():
    encoder = make()
    alone, pooled_alone = encoder(*encoder.tokenize(["a red circle"])[:2])
    tokens = encoder.tokenize(["a red circle", "a very much longer caption about a blue square"])
    together, pooled = encoder(tokens.ids, tokens.mask)
    torch.testing.assert_close(together[0, :4], alone[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled[0], pooled_alone[0], rtol=0, atol=1e-5)


def test_order_of_words_reaches_every_state():
    encoder = make()
    one, other = encoder(*encoder.tokenize(["red above blue", "blue above red"])[:2])[0]
    assert (one - other).abs().amax(-1).gt(1e-3).all()


def test_words_that_share_a_row_of_one_table_differ_in_the_other():
    encoder = make(buckets=2)
    ids = torch.tensor([[START, 4, 6]])
    assert (ids[0, 1] % 2, ids[0, 2] % 2) == (0, 0)
    tokens, _ = encoder(ids, torch.ones_like(ids, dtype=torch.bool))
    assert not torch.allclose(tokens[0, 1] - encoder.places.weight[1], tokens[0, 2] - encoder.places.weight[2])


def test_gradients_reach_every_parameter():
    encoder = make().train()
    tokens, pooled = encoder(*encoder.tokenize(["a red circle", "a blue cross"])[:2])
    (tokens.square().sum() + pooled.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


def test_the_fingerprint_follows_weights_and_settings():
    assert make().fingerprint() == make().fingerprint()
    assert make().fingerprint() != make(max_length=20).fingerprint()
    changed = make()
    with torch.no_grad():
        changed.norm.weight[0] += 1
    assert changed.fingerprint() != make().fingerprint()


def test_heads_that_do_not_divide_the_width_are_a_problem():
    options = Words(width=10, num_heads=4)
    context = RuleContext(SimpleNamespace(), ("text_encoder",), options, Facts(), frozenset())
    assert [problem.message for problem in heads_divide(context)] == [
        "text_encoder.num_heads 4 does not divide text_encoder.width 10"
    ]
