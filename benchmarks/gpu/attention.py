"""Cross-attention, forward and backward: a mask and a mask as a channel, torch's choice of kernel and each by name."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dit_run_plugins.models.dit.kernels import attend_with_channel

from .trial import Trial, Values, choose_device, seconds_of

KEYS = (17, 33, 78)
USUAL_WIDTHS = (64, 72, 80)
ODD_WIDTHS = (36, 66, 72, 80, 100)
"""Channels of a head: multiples of 8, of 4 and of 2."""
BACKENDS = {
    "math": SDPBackend.MATH,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
MISSING = ("No available kernel", "No viable backend")
"""Errors of torch, on a GPU and on a CPU, where no kernel takes the inputs."""
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


FORMS: dict[str, Attend] = {"mask": _masked, "channel": attend_with_channel}


def attention(trial: Trial) -> Values:
    """Measure the kernel that torch chooses (microseconds)."""
    return {
        f"{keys} keys of {width}": {
            form: _microseconds(attend, keys, width, contextlib.nullcontext(), trial) for form, attend in FORMS.items()
        }
        for width in USUAL_WIDTHS
        for keys in KEYS
    }


def backends(trial: Trial) -> Values:
    """Measure each kernel by name (microseconds); None where torch has none for these inputs."""
    return {
        f"{keys} keys of {width}, {form}": {
            name: _microseconds(attend, keys, width, sdpa_kernel(backend), trial) for name, backend in BACKENDS.items()
        }
        for width in ODD_WIDTHS
        for keys in KEYS
        for form, attend in FORMS.items()
    }


def _microseconds(
    attend: Attend, keys: int, width: int, kernels: AbstractContextManager[None], trial: Trial
) -> float | str | None:
    """Return the time of a forward and a backward pass of 64 images with 256 patches and 12 heads, or a failure."""
    device = choose_device()
    images, heads, queries = trial.size(64, 1), trial.size(12, 1), trial.size(256, 8)
    query, key, value = (
        torch.randn(images, heads, count, width, device=device, dtype=torch.bfloat16, requires_grad=True)
        for count in (queries, keys, keys)
    )
    mask = (torch.arange(keys, device=device) < keys - 5).expand(images, 1, 1, keys)

    def both_ways() -> None:
        torch.autograd.grad(attend(query, key, value, mask).sum(), (query, key, value))

    with kernels, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's reasons against each kernel
        try:
            return 1e6 * seconds_of(both_ways, trial, least=0.02)
        except RuntimeError as error:
            # Other failures, such as cuDNN's, must not cost the numbers of the other kernels.
            message = str(error)
            return None if any(words in message for words in MISSING) else message.partition("\n")[0][:60]
