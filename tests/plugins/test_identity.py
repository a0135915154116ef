from __future__ import annotations

import torch

from dit_run_plugins.vaes.identity import Identity
from dit_run_plugins.vaes.identity.vae import build


def test_pixels_pass_through_without_a_posterior() -> None:
    images = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)
    mean, spread = build(Identity()).encode(images)
    assert torch.equal(mean, images) and spread is None


def test_pictures_are_clamped() -> None:
    assert build(Identity()).decode(torch.tensor([-2.0, 0.5, 2.0])).tolist() == [-1.0, 0.5, 1.0]


def test_it_is_three_channels_at_full_size_and_nothing_to_cache() -> None:
    vae = build(Identity())
    assert (vae.latent_channels, vae.factor, vae.cacheable) == (3, 1, False)
