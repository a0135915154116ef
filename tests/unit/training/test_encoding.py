"""Batches become examples: posterior draws, pixels, captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from tiny_parts import CPU, Parts

from dit_run.data.visits import Visit
from dit_run.model.codec import LatentShape
from dit_run.model.latent_normalization import LatentNormalization
from dit_run.training.batches import Visits
from dit_run.training.encoding import BatchEncoder


def visits(parts: Parts) -> Visits:
    return Visits(parts.data.train, 5, LatentShape(3, 1), 0.5)


def test_pixels_become_latents_between_minus_one_and_one(parts: Parts) -> None:
    batch = visits(parts).__getitems__(range(4))
    examples = BatchEncoder(parts.encoders, CPU)(batch)
    assert batch.images.dtype == torch.uint8
    torch.testing.assert_close(examples.latents, batch.images.movedim(-1, 1).float() / 127.5 - 1)
    assert torch.equal(examples.noise, batch.noise)
    assert torch.equal(examples.uniform, batch.uniform)
    assert examples.keys == batch.keys
    assert examples.text.null.tolist() == list(batch.null)


class Kept:
    """Latents of one mean and, perhaps, deviation."""

    def __init__(self, *parts: float) -> None:
        self._latents = torch.tensor(parts)[:, None, None, None].expand(-1, 3, 16, 16)

    def find(self, visit: Visit) -> int:
        return visit.index

    def gather(self, found: Sequence[int]) -> torch.Tensor:
        return torch.stack([self._latents for _ in found])


def test_noise_of_a_posterior_is_drawn_for_pixels_only_if_their_encoder_has_one(parts: Parts) -> None:
    own = Visits.of(parts.config, parts.data.train, parts.encoders)
    assert own.__getitems__(range(4)).draw is None
    drawn = replace(own, posterior=True).__getitems__(range(4))
    assert drawn.draw is not None
    assert not torch.equal(drawn.draw, drawn.noise)
    assert torch.equal(drawn.noise, own.__getitems__(range(4)).noise)


def test_kept_latents_are_drawn_from_their_posterior(parts: Parts) -> None:
    batch = replace(visits(parts), latents=Kept(2.0, 0.5)).__getitems__(range(4))
    assert torch.equal(BatchEncoder(parts.encoders, CPU)(batch).latents, 2 + 0.5 * batch.draw)


def test_latents_without_a_posterior_stay_as_they_are(parts: Parts) -> None:
    batch = replace(visits(parts), latents=Kept(2.0)).__getitems__(range(4))
    assert batch.draw is None
    assert torch.equal(BatchEncoder(parts.encoders, CPU)(batch).latents, torch.full((4, 3, 16, 16), 2.0))


def test_latents_are_normalised_before_and_after_the_cache(parts: Parts) -> None:
    normalization = LatentNormalization(3)
    normalization.set([1.0] * 3, [0.5] * 3)
    encode, own = BatchEncoder(parts.encoders, CPU, normalization=normalization), visits(parts)
    kept = replace(own, latents=Kept(2.0, 0.5)).__getitems__(range(4))
    assert torch.equal(encode(kept).latents, 2 + kept.draw)
    pixels = own.__getitems__(range(4))
    torch.testing.assert_close(encode(pixels).latents, 2 * (BatchEncoder(parts.encoders, CPU)(pixels).latents - 1))
