"""Prompts that ask for objects, and the answer to what an image shows of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Literal

import numpy as np

__all__ = ["FORMS", "Detection", "Request", "request_at"]

Form = Literal["one_object", "two_objects", "number", "place"]
FORMS: tuple[Form, ...] = ("one_object", "two_objects", "number", "place")
"""Forms of a request, in turn."""
_NUMBERS = ("two", "three", "four")
_DIRECTIONS: Mapping[str, tuple[int, int]] = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
_PLURALS = {
    "person": "people", "mouse": "mice", "knife": "knives", "sheep": "sheep", "skis": "skis", "scissors": "scissors",
}  # fmt: skip
_SLACK = 0.1
"""Share of the sizes of two objects by which their centres must be apart to lie in a direction (as in GenEval)."""


@dataclass(frozen=True)
class Detection:
    """An object that a detector sees."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]
    """Centre x and y, width and height, as shares of the image."""


@dataclass(frozen=True)
class Request:
    """A prompt and what it asks for."""

    form: Form
    first: str
    second: str = ""
    number: int = 1
    relation: str = ""

    @property
    def text(self) -> str:
        if self.form == "number":
            return f"a photo of {_NUMBERS[self.number - 2]} {_plural(self.first)}"
        if self.form == "one_object":
            return f"a photo of {_with_article(self.first)}"
        return f"a photo of {_with_article(self.first)} {self.relation or 'and'} {_with_article(self.second)}"

    def is_shown(self, seen: Sequence[Detection]) -> bool:
        """Return True if an image with these objects is as asked."""
        firsts = [each for each in seen if each.label == self.first]
        if self.form == "number":
            return len(firsts) == self.number
        seconds = [each for each in seen if each.label == self.second]
        if not firsts or (self.second and not seconds):
            return False
        return not self.relation or _lies(_surest(firsts), self.relation, _surest(seconds))


def request_at(index: int, classes: Sequence[str]) -> Request:
    """Return a request for some of at least two classes: a pure function of the index."""
    form = FORMS[index % len(FORMS)]
    generator = np.random.default_rng([20, index])
    first, second = (classes[place] for place in generator.choice(len(classes), size=2, replace=False))
    if form == "one_object":
        return Request(form, first)
    if form == "number":
        return Request(form, first, number=2 + int(generator.integers(len(_NUMBERS))))
    relation = list(_DIRECTIONS)[int(generator.integers(len(_DIRECTIONS)))] if form == "place" else ""
    return Request(form, first, second, relation=relation)


def _surest(seen: Sequence[Detection]) -> Detection:
    return max(seen, key=lambda each: each.confidence)


def _lies(one: Detection, relation: str, other: Detection) -> bool:
    """Return True if one object lies in a direction of the other, after a slack of a share of both sizes."""
    apart = [one.box[axis] - other.box[axis] for axis in (0, 1)]
    slack = [_SLACK * (one.box[axis] + other.box[axis]) for axis in (2, 3)]
    clear = [max(abs(far) - least, 0.0) * (1 if far > 0 else -1) for far, least in zip(apart, slack, strict=True)]
    length = hypot(*clear)
    along = sum(part * way for part, way in zip(clear, _DIRECTIONS[relation], strict=True))
    return length > 0 and along / length > 0.5


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _plural(name: str) -> str:
    if name in _PLURALS:
        return _PLURALS[name]
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"
