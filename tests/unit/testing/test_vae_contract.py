"""VAEs that break one promise each."""

from __future__ import annotations

from typing import Any

import torch
from faults import fault, keep
from torch import Tensor, nn

from dit_run.registry.components import Kind

KIND = Kind.VAE


class Blocks(nn.Module):
    """Means of 4 x 4 pixels; a test breaks a part of it."""

    latent_channels, factor, cacheable = 3, 4, True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, images: Tensor) -> Any:
        mean = nn.functional.avg_pool2d(images, 4) * self.scale
        return mean, torch.full_like(mean, 0.1)

    def decode(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents / self.scale, scale_factor=4).clamp(-1, 1)

    def fingerprint(self) -> str:
        return "0123456789abcdef"


def broken(cls: type[nn.Module]) -> str:
    return fault(KIND, lambda options: cls())


def test_means_of_blocks_keep_the_contract() -> None:
    keep(KIND, lambda options: Blocks())


def test_a_factor_that_is_no_number() -> None:
    class Tuple(Blocks):
        factor = (4, 4)  # type: ignore[assignment]

    assert broken(Tuple) == "VAE.factor is (4, 4); set it to a whole number (dit_run.protocols.VAE)"


def test_latents_without_spread() -> None:
    class Single(Blocks):
        def encode(self, images: Tensor) -> Any:
            return super().encode(images)[0]

    assert broken(Single) == "encode() returned Tensor; return (mean, standard deviation or None)"


def test_latents_of_another_size() -> None:
    class Halved(Blocks):
        factor = 8

    assert broken(Halved) == (
        "the mean of encode(): return [2, 3, 8, 4] torch.float32, not [2, 3, 16, 8] torch.float32"
    )


def test_rows_and_columns_exchanged() -> None:
    class Turned(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean, spread = super().encode(images)
            return mean.transpose(2, 3), spread

    assert broken(Turned) == ("the mean of encode(): return [2, 3, 8, 4] torch.float32, not [2, 3, 4, 8] torch.float32")


def test_a_log_variance_for_a_standard_deviation() -> None:
    class Logarithm(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean, spread = super().encode(images)
            return mean, spread.log()

    assert broken(Logarithm) == "the standard deviation of encode() is negative; return exp(0.5 * log_variance)"


def test_images_of_another_size() -> None:
    class Small(Blocks):
        def decode(self, latents: Tensor) -> Tensor:
            return latents

    assert broken(Small) == (
        "decode(encode(images)): return [2, 3, 32, 16] torch.float32, not [2, 3, 8, 4] torch.float32"
    )


def test_images_that_are_not_clamped() -> None:
    class Loud(Blocks):
        def decode(self, latents: Tensor) -> Tensor:
            return nn.functional.interpolate(latents.clamp(-2, 2), scale_factor=4)

    assert broken(Loud) == "decode() returns values from -2 to 2; clamp images to [-1, 1]"


def test_latents_that_are_drawn() -> None:
    class Sampling(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean, spread = super().encode(images)
            return mean + spread * torch.randn_like(mean), spread

    assert broken(Sampling) == (
        "a second encode() returns other values; return the mean without noise, the core adds the noise"
    )


def test_images_that_are_random() -> None:
    class Grainy(Blocks):
        def decode(self, latents: Tensor) -> Tensor:
            images = super().decode(latents)
            return (images + 0.01 * torch.randn_like(images)).clamp(-1, 1)

    assert broken(Grainy) == "a second decode() returns other values; use no random numbers"


def test_images_that_see_each_other() -> None:
    class Normalising(Blocks):
        def encode(self, images: Tensor) -> Any:
            return super().encode(images - images.mean(0, keepdim=True))

    assert broken(Normalising) == (
        "the latents of an image depend on the rest of the batch; do not normalise over the batch"
    )


def test_output_with_gradients() -> None:
    class Thawed(Blocks):
        def encode(self, images: Tensor) -> Any:
            self.requires_grad_(True)
            return super().encode(images)

    assert broken(Thawed) == "its output carries gradients; if weights are loaded at the first call, freeze them there"


def test_running_statistics() -> None:
    class Running(Blocks):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def encode(self, images: Tensor) -> Any:
            self.seen += len(images)
            return super().encode(images)

    assert broken(Running) == (
        "'seen' changed while it encoded and decoded; "
        "a frozen encoder keeps its parameters and buffers (no running statistics)"
    )


def test_no_fingerprint_where_latents_are_kept() -> None:
    class Nameless(Blocks):
        fingerprint = None  # type: ignore[assignment]

    assert broken(Nameless) == "VAE.fingerprint() is missing; return a hex digest of everything that affects the output"


def test_a_fingerprint_that_leaves_the_weights_out() -> None:
    class Drawn(Blocks):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(()) + 1)

    assert broken(Drawn) == (
        "two builds with different random weights give different output but the same fingerprint(), so "
        "cached results would be stale; include the weights in the digest"
    )


def test_deviations_of_the_whole_batch() -> None:
    class Spread(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean, _ = super().encode(images)
            return mean, mean.std(0, keepdim=True, correction=0).expand_as(mean)

    assert broken(Spread) == (
        "the standard deviations of an image depend on the rest of the batch; do not normalise over the batch"
    )


def test_a_decoder_that_looks_at_the_whole_batch() -> None:
    class Mixed(Blocks):
        def decode(self, latents: Tensor) -> Tensor:
            return super().decode(latents - latents.mean(0))

    assert broken(Mixed) == "the decoded image depends on the rest of the batch; do not normalise over the batch"


def test_drawn_deviations() -> None:
    class Drawn(Blocks):
        def encode(self, images: Tensor) -> Any:
            mean, _ = super().encode(images)
            return mean, torch.rand_like(mean)

    assert broken(Drawn).startswith("a second encode() returns other values")
