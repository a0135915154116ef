"""Captions as conditions: buckets, dropped captions, and that padding changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_parts import Parts

from dit_run.model.conditioning import (
    CaptionStates,
    FrozenCaptions,
    LiveCaptions,
    SeveralCaptions,
    TextIds,
    joined,
    padded_length,
)
from dit_run.model.denoiser import Denoiser
from dit_run.protocols import TextStates

SHORT, LONG = "a red circle", "a large blue triangle below a small green cross on a gray background " * 2


@pytest.mark.parametrize(
    ("length", "longest", "padded"), [(0, 77, 16), (16, 77, 16), (17, 77, 32), (65, 77, 77), (9, 8, 8)]
)
def test_lengths_are_padded_to_buckets(length: int, longest: int, padded: int) -> None:
    assert padded_length(length, longest) == padded


def test_live_captions_are_ids_of_which_dropped_ones_are_the_empty_captions(parts: Parts) -> None:
    conditions = LiveCaptions(parts.encoders.texts[0])
    given, empty = conditions([SHORT, SHORT], [False, True]), conditions(["", SHORT], [True, False])
    assert given.null.tolist() == [False, True]
    assert given.ids.shape == (2, 16)
    assert torch.equal(given.ids[1], empty.ids[0])
    assert torch.equal(given.ids[0], empty.ids[1])


def test_a_longer_neighbour_does_not_change_a_prediction(parts: Parts) -> None:
    conditions = LiveCaptions(parts.encoders.texts[0])
    noisy, timesteps = torch.linspace(-1, 1, 2 * 3 * 256).reshape(2, 3, 16, 16), torch.tensor([300.0, 700.0])
    alone, beside = conditions([SHORT], [False]), conditions([SHORT, LONG], [False, False])
    assert beside.ids.shape[1] > alone.ids.shape[1]
    with torch.no_grad():
        expected = parts.denoiser(noisy[:1], timesteps[:1], alone)
        torch.testing.assert_close(parts.denoiser(noisy, timesteps, beside)[:1], expected, rtol=1e-5, atol=1e-5)


def lookup(captions: Sequence[str]) -> list[CaptionStates]:
    """A state a word: its length."""
    lengths = [[float(len(word)) for word in caption.split()] or [0.0] for caption in captions]
    return [CaptionStates(torch.tensor(each)[:, None], torch.tensor([sum(each)])) for each in lengths]


def test_frozen_captions_are_states_padded_with_zeros_under_their_mask() -> None:
    states = FrozenCaptions(lookup, max_length=77)(["one three", "dropped"], [False, True])
    assert states.tokens.shape == (2, 16, 1)
    assert states.tokens[:, :3, 0].tolist() == [[3.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    assert states.mask.sum(1).tolist() == [2, 1]
    assert states.pooled.tolist() == [[8.0], [0.0]]
    assert states.null.tolist() == [False, True]


def several() -> SeveralCaptions:
    return SeveralCaptions([FrozenCaptions(lookup, max_length=longest) for longest in (77, 3)])


def test_each_of_several_encoders_drops_captions_of_its_own_besides_those_that_all_drop() -> None:
    first, second = several()(["one", "two", "six"], [True, False, False], [[False] * 3, [False, True, False]])
    assert first.null.tolist() == [True, False, False]
    assert second.null.tolist() == [True, True, False]
    assert second.pooled.tolist() == [[0.0], [0.0], [3.0]]


def test_states_of_several_encoders_follow_one_another_in_columns_of_their_own() -> None:
    text = joined([each for each in several()(["one three", "two"], [False, True]) if isinstance(each, TextStates)])
    assert text.tokens.shape == (2, 16 + 3, 2)
    assert text.tokens[0, :2].tolist() == [[3.0, 0.0], [5.0, 0.0]]
    assert text.tokens[0, 16:].tolist() == [[0.0, 3.0], [0.0, 5.0], [0.0, 0.0]]
    assert text.mask.nonzero().tolist() == [[0, 0], [0, 1], [0, 16], [0, 17], [1, 0], [1, 16]]
    assert text.pooled.tolist() == [[8.0, 8.0], [0.0, 0.0]]
    assert text.null.tolist() == [False, True]


def test_a_caption_is_dropped_for_the_model_only_if_all_encoders_drop_it() -> None:
    texts = several()(["one", "two"], [False, False], [[True, True], [False, True]])
    assert joined([each for each in texts if isinstance(each, TextStates)]).null.tolist() == [False, True]


class Doubled(torch.nn.Module):
    """An encoder that trains: twice each id."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = 2.0 * ids[..., None]
        return states, states.sum(1)


def test_an_encoder_that_trains_stands_in_its_place_among_frozen_ones() -> None:
    ids = TextIds(torch.tensor([[4, 5]]), torch.tensor([[True, True]]), torch.tensor([False]))
    (states,) = SeveralCaptions([FrozenCaptions(lookup, max_length=2)])(["one three"], [False])
    denoiser = Denoiser(torch.nn.Identity(), None, Doubled())
    text = denoiser.condition((states, ids))
    assert text.tokens.tolist() == [[[3.0, 0.0], [5.0, 0.0], [0.0, 8.0], [0.0, 10.0]]]
    assert text.pooled.tolist() == [[8.0, 18.0]]
