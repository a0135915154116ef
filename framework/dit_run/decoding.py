"""Decoding: from latents to pixels, a few pictures at a time however many are drawn together."""

from __future__ import annotations

import torch
from torch import Tensor

from dit_run.compute.devices import encoding_chunks
from dit_run.protocols import VAE

__all__ = ["decode_latents"]


@torch.no_grad()
def decode_latents(vae: VAE, latents: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Pictures float32 [n, 3, H, W] in [-1, 1] for latents [n, c, h, w].

    ``dtype`` is that of autocast, None works in float32. A chunk that overflows it is decoded again in float32.
    """
    chunks = torch.split(latents.float(), encoding_chunks(latents.device)[0])
    return torch.cat([_decode_chunk(vae, chunk, dtype) for chunk in chunks])


def _decode_chunk(vae: VAE, latents: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.autocast(latents.device.type, dtype=dtype, enabled=dtype is not None):
        pixels = vae.decode(latents)
    if dtype is None or bool(pixels.isfinite().all()):
        return pixels
    with torch.autocast(latents.device.type, enabled=False):
        return vae.decode(latents)
