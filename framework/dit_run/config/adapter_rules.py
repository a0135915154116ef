"""Rules of configs with an adapter."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.config.effects import without_effect
from dit_run.options import HubOrPath, LocalPath, options_of
from dit_run.problems import Problem
from dit_run.protocols import RuleContext
from dit_run.settings import Choice

__all__ = ["adapter_has_a_base", "base_is_frozen"]


def adapter_has_a_base(context: RuleContext) -> Iterator[Problem]:
    """Report an adapter that would change random weights."""
    config = context.config
    if config.adapter is None or config.training.init_from is not None or _is_pretrained(config.model):
        return
    yield Problem(
        "random-base",
        f"adapter {config.adapter.type} changes random weights: neither training.init_from nor an option of model "
        f"{config.model.type} names weights that it begins with",
        ("adapter", "type"),
        help=("set training.init_from to a run, or model.pretrained_model_name",),
        severity="notice",
    )


def base_is_frozen(context: RuleContext) -> Iterator[Problem]:
    """Report patterns of parameters to freeze where an adapter freezes all of them."""
    path = ("training", "freeze")
    if context.config.adapter is not None and context.config.training.freeze:
        yield without_effect(path, "an adapter freezes all weights but its own", ("adapter", "type"))


def _is_pretrained(model: Choice) -> bool:
    """Return True if an option of a model names files of weights."""
    named = (
        option.name for option in options_of(type(model.options)) if option.markers & {HubOrPath.name, LocalPath.name}
    )
    return any(getattr(model.options, name) is not None for name in named)
