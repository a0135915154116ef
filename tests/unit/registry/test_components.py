"""Components refuse what cannot be one, and say what to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dit_run.registry.components import Component, Kind


@dataclass(frozen=True, kw_only=True)
class Lion:
    """Options of a test."""

    decay: float = 0.1
    """A number."""


@dataclass
class Loose:
    decay: float = 0.1


def component(**parts: Any) -> Component:
    return Component(
        **{"kind": Kind.OPTIMIZER, "type": "lion", "options": Lion, "factory": "package.lion:build", **parts}
    )


def test_it_is_named_by_kind_and_type() -> None:
    assert component().name == "optimizer.lion"


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"kind": "optimizer"}, TypeError, "component 'lion': write the kind as Kind.OPTIMIZER, not 'optimizer'"),
        (
            {"kind": "optimiser"},
            TypeError,
            "component 'lion': unknown kind 'optimiser'; the kinds are dataset, text_encoder, vae, model, scheduler, "
            "optimizer, lr_scheduler, objective, guidance, average, adapter, tracker, metric, callback",
        ),
        (
            {"type": "Lion"},
            ValueError,
            "component optimizer.Lion: a type is made of lower-case letters, digits and underscores",
        ),
        (
            {"type": "big-cat"},
            ValueError,
            "component optimizer.big-cat: a type is made of lower-case letters, digits and underscores",
        ),
        (
            {"options": Loose},
            TypeError,
            f"{__name__}.Loose must be declared with @dataclass(frozen=True, kw_only=True)",
        ),
        (
            {"factory": "package.lion.build"},
            ValueError,
            "component optimizer.lion: 'package.lion.build' should read 'package.module:function'",
        ),
        (
            {"factory": 7},
            TypeError,
            "component optimizer.lion: factory should be 'package.module:function' or callable, not 7",
        ),
        (
            {"rules": ("heads_divide",)},
            ValueError,
            "component optimizer.lion: 'heads_divide' should read 'package.module:function'",
        ),
    ],
)
def test_what_cannot_be_a_component(parts: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        component(**parts)
    assert str(caught.value) == message
