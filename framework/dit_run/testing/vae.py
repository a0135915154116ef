"""The contract of a VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dit_run.protocols import VAE
from dit_run.registry.components import Component, Kind
from dit_run.testing.contract_error import Check, Subject, check_all
from dit_run.testing.torch_modules import (
    built,
    close,
    expect_covering_fingerprint,
    expect_fingerprint,
    expect_tensor,
    expect_unchanged,
    snapshot,
)

__all__ = ["CHECKS", "check_vae"]

_ROWS, _COLUMNS = 8, 4
"""Latent size: not square, so that exchanged axes are noticed."""


def check_vae(component: Component | str | Path, **options: Any) -> None:
    """Test a VAE with these options: shapes in both directions, the range of images, and that it never changes.

    ``component`` is a Component, the type of an installed one, or the path of a plugin file. Raises ContractError, and
    InputError as the factory does.
    """
    check_all(Subject.of(Kind.VAE, component, options), CHECKS)


def _make(subject: Subject, seed: int = 0) -> VAE:
    """Return the VAE in the state that a run uses: frozen and in eval mode."""
    module = built(subject, seed=seed)
    for name, kind in (("latent_channels", int), ("factor", int), ("cacheable", bool)):
        subject.attribute(module, name, kind, "VAE")
    return cast(VAE, module.requires_grad_(False).eval())


def _images(vae: VAE, count: int = 2) -> Tensor:
    shape = (count, 3, _ROWS * vae.factor, _COLUMNS * vae.factor)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _latent_shape(vae: VAE, count: int = 2) -> tuple[int, ...]:
    return count, vae.latent_channels, _ROWS, _COLUMNS


@torch.no_grad()
def encodes(subject: Subject) -> None:
    """Check that encode() returns a mean and a standard deviation or None, of the declared shape."""
    vae = _make(subject)
    answer = vae.encode(_images(vae))
    subject.expect(
        isinstance(answer, tuple) and len(answer) == 2,
        f"encode() returned {type(answer).__name__}; return (mean, standard deviation or None)",
    )
    mean, spread = answer
    expect_tensor(subject, "the mean of encode()", mean, _latent_shape(vae), torch.float32)
    if spread is not None:
        expect_tensor(subject, "the standard deviation of encode()", spread, _latent_shape(vae), torch.float32)
        subject.expect(
            bool((spread >= 0).all()), "the standard deviation of encode() is negative; return exp(0.5 * log_variance)"
        )
        subject.expect(
            getattr(vae, "posterior", True),
            "encode() returned a standard deviation, and the attribute posterior is False",
        )


@torch.no_grad()
def decodes(subject: Subject) -> None:
    """Check that decode() returns images of the original size, in [-1, 1] for any latents."""
    vae = _make(subject)
    images = _images(vae)
    decoded = vae.decode(vae.encode(images)[0])
    expect_tensor(subject, "decode(encode(images))", decoded, tuple(images.shape), torch.float32)
    noise = torch.randn(_latent_shape(vae), generator=torch.Generator().manual_seed(1))
    wild = expect_tensor(subject, "decode(latents)", vae.decode(100 * noise), tuple(images.shape), torch.float32)
    lowest, highest = wild.min().item(), wild.max().item()
    subject.expect(
        lowest >= -1 and highest <= 1,
        f"decode() returns values from {lowest:.3g} to {highest:.3g}; clamp images to [-1, 1]",
    )


@torch.no_grad()
def sees_each_image_alone(subject: Subject) -> None:
    """Check that latents and decoded images do not depend on the rest of their batch."""
    vae = _make(subject)
    images = _images(vae)
    both, alone = vae.encode(images), vae.encode(images[:1])
    for name, one, other in zip(("latents", "standard deviations"), both, alone, strict=True):
        subject.expect(
            one is None or other is None or close(one[:1], other),
            f"the {name} of an image depend on the rest of the batch; do not normalise over the batch",
        )
    subject.expect(
        close(vae.decode(both[0])[:1], vae.decode(both[0][:1])),
        "the decoded image depends on the rest of the batch; do not normalise over the batch",
    )


@torch.no_grad()
def repeats_itself(subject: Subject) -> None:
    """Check that the same images and latents give the same bytes again."""
    vae = _make(subject)
    images = _images(vae)
    latents, spread = vae.encode(images)
    again, spread_again = vae.encode(images)
    subject.expect(
        torch.equal(latents, again) and (spread is None or spread_again is None or torch.equal(spread, spread_again)),
        "a second encode() returns other values; return the mean without noise, the core adds the noise",
    )
    subject.expect(
        torch.equal(vae.decode(latents), vae.decode(latents)),
        "a second decode() returns other values; use no random numbers",
    )


def is_frozen(subject: Subject) -> None:
    """Check that encoding and decoding change no weights and give outputs without gradients."""
    vae = _make(subject)
    module, images = cast(nn.Module, vae), _images(vae)
    vae.decode(vae.encode(images)[0])
    before = snapshot(module)
    latents = vae.encode(images)[0]
    subject.expect(
        not latents.requires_grad and not vae.decode(latents).requires_grad,
        "its output carries gradients; if weights are loaded at the first call, freeze them there",
    )
    expect_unchanged(subject, module, before, "while it encoded and decoded")


def has_a_fingerprint(subject: Subject) -> None:
    """Check that two builds with cacheable latents have the same fingerprint, and other weights have another."""
    one, other = _make(subject), _make(subject)
    if one.cacheable:
        expect_fingerprint(subject, one, other, "VAE")
        third = _make(subject, seed=1)
        expect_covering_fingerprint(subject, one, third, [each.encode(_images(each))[0] for each in (one, third)])


CHECKS: tuple[Check, ...] = (
    encodes,
    decodes,
    repeats_itself,
    sees_each_image_alone,
    is_frozen,
    has_a_fingerprint,
)
