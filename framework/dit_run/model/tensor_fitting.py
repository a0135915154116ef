"""Fitting: which tensors of other weights a model takes over, which are resized, and which are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from dit_run.model.name_patterns import shortened

__all__ = ["Fitting", "Resize", "added_prefix", "fit"]

Resize = Callable[[str, Tensor, Tensor], Tensor | None]
"""``resize(name, value, initial)``: the value in the shape of the model's tensor ``initial``, or None."""


@dataclass
class Fitting:
    """The tensors of other weights that a model begins with, and a record of the others."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors in the shapes of the model, by the model's names."""
    resized: dict[str, str] = field(default_factory=dict)
    """By name: both shapes."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Tensors that have another shape in the source, and begin with initial weights: both shapes."""
    unknown: list[str] = field(default_factory=list)
    """Tensors of the source that the model does not have."""
    initial: list[str] = field(default_factory=list)
    """Tensors of the model that the source does not have."""

    def share_of(self, expected: Mapping[str, Tensor]) -> float:
        """Return the share of the model's numbers that the source gives."""
        total = sum(value.numel() for value in expected.values())
        return sum(value.numel() for value in self.tensors.values()) / max(total, 1)

    @property
    def summary(self) -> str:
        """The counts, in one sentence."""
        left_out, initial = len(self.unfit) + len(self.unknown), len(self.unfit) + len(self.initial)
        taken = len(self.tensors) - len(self.resized)
        return (
            f"{taken} tensors taken, {len(self.resized)} resized, {left_out} left out; "
            f"{initial} of the model begin with initial weights"
        )

    def lines(self) -> Iterator[str]:
        """Yield a line for each group of tensors that were not simply taken; repeated blocks are one name."""
        yield from _listed("resized", _with_shapes(self.resized))
        yield from _listed("left out because of another shape", _with_shapes(self.unfit))
        yield from _listed("left out because the model has no such tensor", shortened(self.unknown))
        yield from _listed("not in the source", shortened(self.initial))


def fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], resize: Resize) -> Fitting:
    """Return which of the given tensors, under the model's names, the model's ``expected`` tensors can begin with."""
    found = Fitting(unknown=[name for name in given if name not in expected])
    for name, initial in expected.items():
        value = given.get(name)
        if value is None:
            found.initial.append(name)
        elif value.shape == initial.shape:
            found.tensors[name] = value
        else:
            _resize(found, name, value, initial, resize)
    return found


def _resize(found: Fitting, name: str, value: Tensor, initial: Tensor, resize: Resize) -> None:
    """Add a tensor of another shape to those that are resized or, where it cannot be, to those that are left out."""
    shapes, resized = f"{list(value.shape)} -> {list(initial.shape)}", resize(name, value, initial)
    if resized is None:
        found.unfit[name] = shapes
    else:
        found.tensors[name], found.resized[name] = resized, shapes


def added_prefix(expected: Iterable[str], given: Iterable[str]) -> tuple[str, str] | None:
    """Return a renaming (pattern, new name) by which most of the given names become expected ones, or None."""
    counts: dict[tuple[str, str], int] = {}
    known, names = set(expected), list(given)
    for name in names:
        for other in known:
            pair = _prefix(name, other)
            if pair is not None:
                counts[pair] = counts.get(pair, 0) + 1
    best = max(counts, key=lambda pair: counts[pair], default=None)
    return best if best is not None and 2 * counts[best] > len(names) else None


def _prefix(name: str, other: str) -> tuple[str, str] | None:
    if other.endswith(f".{name}"):
        return "*", other.removesuffix(name) + "*"
    return (name.removesuffix(other) + "*", "*") if name.endswith(f".{other}") else None


def _with_shapes(shapes: Mapping[str, str]) -> list[str]:
    """Return shortened names with their shapes."""
    by_shape: dict[str, list[str]] = {}
    for name, text in shapes.items():
        by_shape.setdefault(text, []).append(name)
    return [f"{name} {text}" for text, names in by_shape.items() for name in shortened(names)]


def _listed(what: str, names: list[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {', '.join(names)}"
