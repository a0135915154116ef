"""Shares: an endless sequence of choices that keeps exact shares in every window, with random access.

A binary tree splits the choices by weight. At a node with the weights (a, b), turn t goes to the left if
floor((t + 1) · a / (a + b)) exceeds floor(t · a / (a + b)), so the left has had floor(t · a / (a + b)) turns before
turn t (a Sturmian word; Lothaire, "Algebraic Combinatorics on Words", 2002, chapter 2). In every window of w turns a
side of the root thus has its share of w, rounded down or up; where all shares of w are whole numbers, so are those of
every choice. Deeper in the tree the deviation stays below 2 for a balanced tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import NamedTuple

__all__ = ["Shares"]


class _Split(NamedTuple):
    weight: int
    """Weight of the left side."""
    total: int
    left: _Tree
    right: _Tree


_Tree = _Split | int


@dataclass(frozen=True)
class Shares:
    """The sequence for these weights, each above 0."""

    weights: tuple[Fraction, ...]
    _tree: _Tree = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) <= 0:
            raise ValueError(f"shares need weights above 0, not {self.weights}")
        scale = lcm(*(weight.denominator for weight in self.weights))
        whole = [(number, int(weight * scale)) for number, weight in enumerate(self.weights)]
        object.__setattr__(self, "_tree", _tree(whole))

    def at(self, turn: int) -> tuple[int, int]:
        """Return the choice of turn ``turn`` (from 0), and how many turns the choice has had before."""
        node = self._tree
        while isinstance(node, _Split):
            before = turn * node.weight // node.total
            left = (turn + 1) * node.weight // node.total > before
            node, turn = (node.left, before) if left else (node.right, turn - before)
        return node, turn


def _tree(weights: Sequence[tuple[int, int]]) -> _Tree:
    """Return the tree of numbered weights, each side about half of its node where the weights allow it."""
    if len(weights) == 1:
        return weights[0][0]
    total = sum(weight for _, weight in weights)
    left = [sum(weight for _, weight in weights[:cut]) for cut in range(1, len(weights))]
    cut = min(range(len(left)), key=lambda index: abs(2 * left[index] - total))
    return _Split(left[cut], total, _tree(weights[: cut + 1]), _tree(weights[cut + 1 :]))
