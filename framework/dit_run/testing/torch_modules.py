"""Checks of torch modules that the contracts of encoders and models share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dit_run.testing.contract_error import Subject

__all__ = [
    "built",
    "close",
    "expect_covering_fingerprint",
    "expect_fingerprint",
    "expect_tensor",
    "expect_unchanged",
    "snapshot",
]

_TOLERANCE = 1e-4


def built(subject: Subject, *, seed: int = 0, **runtime: Any) -> nn.Module:
    """Return the module that the factory builds after ``torch.manual_seed(seed)``."""
    torch.manual_seed(seed)
    module = subject.make(**runtime)
    subject.expect(
        isinstance(module, nn.Module),
        f"the factory returned {type(module).__name__}; return a torch.nn.Module",
    )
    return module  # type: ignore[no-any-return]


def expect_tensor(subject: Subject, what: str, value: object, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return ``value`` if it is a finite tensor of this shape and dtype; raise ContractError otherwise."""
    if not isinstance(value, Tensor):
        subject.fail(f"{what}: return a tensor {list(shape)}, not {type(value).__name__}")
    subject.expect(
        tuple(value.shape) == shape and value.dtype == dtype,
        f"{what}: return {list(shape)} {dtype}, not {list(value.shape)} {value.dtype}",
    )
    subject.expect(bool(value.isfinite().all()), f"{what}: some values are not finite")
    return value


def close(one: Tensor, other: Tensor) -> bool:
    """Return True if two tensors are equal up to rounding."""
    scale = max(one.abs().max().item(), other.abs().max().item(), 1e-6)
    return bool((one - other).abs().max().item() <= _TOLERANCE * scale)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def expect_unchanged(subject: Subject, module: nn.Module, before: Mapping[str, Tensor], when: str) -> None:
    """Check that all parameters and buffers of a snapshot still have the same values."""
    now = module.state_dict()
    for name, value in before.items():
        subject.expect(
            name in now and torch.equal(now[name], value),
            f"{name!r} changed {when}; a frozen encoder keeps its parameters and buffers (no running statistics)",
        )


def expect_fingerprint(subject: Subject, one: Any, other: Any, of: str) -> None:
    """Check that two equal builds have the same fingerprint, in hex digits."""
    prints = []
    for module in (one, other):
        method = getattr(module, "fingerprint", None)
        subject.expect(
            callable(method),
            f"{of}.fingerprint() is missing; return a hex digest of everything that affects the output",
        )
        assert method is not None
        prints.append(method())
    subject.expect(
        isinstance(prints[0], str) and re.fullmatch(r"[0-9a-f]{16,}", prints[0]) is not None,
        f"fingerprint() is {prints[0]!r}; return at least 16 hex digits, such as hashlib's hexdigest()",
    )
    subject.expect(
        prints[0] == prints[1],
        f"fingerprint() is {prints[0][:12]}… and {prints[1][:12]}… for two equal builds; "
        "cached results would never be found again",
    )


def expect_covering_fingerprint(subject: Subject, one: Any, other: Any, outputs: Sequence[Tensor]) -> None:
    """Check that builds with different weights have different fingerprints, unless their outputs are equal."""
    subject.expect(
        one.fingerprint() != other.fingerprint() or torch.equal(*outputs),
        "two builds with different random weights give different output but the same fingerprint(), so "
        "cached results would be stale; include the weights in the digest",
    )
