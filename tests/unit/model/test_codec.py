"""Decoding: chunks of a fixed size, in the precision asked for unless that overflows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from dit_run.model.codec import decode_latents


class Decoder:
    """Doubles latents by a product, on the way as large as ``height``."""

    def __init__(self, height: float = 1.0) -> None:
        self.height = height
        self.seen: list[tuple[int, torch.dtype]] = []

    def decode(self, latents: Tensor) -> Tensor:
        large = linear(latents * self.height, 2 * torch.eye(2))
        self.seen.append((len(latents), large.dtype))
        return large.float() / self.height


LATENTS = torch.full((3, 1, 2, 2), 0.3)


def test_images_are_decoded_one_by_one_on_a_cpu() -> None:
    decoder = Decoder()
    pixels = decode_latents(decoder, LATENTS, torch.bfloat16)  # type: ignore[arg-type]
    assert decoder.seen == [(1, torch.bfloat16)] * 3
    assert pixels.shape == (3, 1, 2, 2) and (pixels == torch.tensor(0.3).bfloat16().float() * 2).all()


def test_without_autocast_decoding_is_in_float32() -> None:
    assert torch.equal(decode_latents(Decoder(), LATENTS), LATENTS * 2)  # type: ignore[arg-type]


def test_a_decoding_that_overflows_is_done_again_in_float32() -> None:
    decoder = Decoder(height=2e5)
    pixels = decode_latents(decoder, LATENTS[:1], torch.float16)  # type: ignore[arg-type]
    assert decoder.seen == [(1, torch.float16), (1, torch.float32)]
    torch.testing.assert_close(pixels, LATENTS[:1] * 2)


def test_only_chunks_that_overflow_are_decoded_again() -> None:
    decoder = Decoder(height=1e5)
    latents = torch.stack([torch.full((1, 2, 2), value) for value in (0.1, 0.9, 0.1)])
    pixels = decode_latents(decoder, latents, torch.float16)  # type: ignore[arg-type]
    assert decoder.seen == [(1, torch.float16)] * 3 + [(1, torch.float32)]
    assert pixels.isfinite().all()


def test_bfloat16_has_the_range_of_float32_and_is_not_decoded_again() -> None:
    decoder = Decoder(height=2e5)
    decode_latents(decoder, LATENTS[:1], torch.bfloat16)  # type: ignore[arg-type]
    assert decoder.seen == [(1, torch.bfloat16)]
