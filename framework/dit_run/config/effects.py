"""Effects: written keys that have none in their config, reported as notices with the code ``without-effect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dit_run.config.describe import received
from dit_run.config.keys import config_options, key_name
from dit_run.options import LocalPath, Option
from dit_run.problems import KeyPath, Problem
from dit_run.protocols import RuleContext
from dit_run.settings import Config
from dit_run.system.urls import is_url

__all__ = ["WITHOUT_EFFECT", "keys_without_effect", "without_effect", "writes_every_key"]

WITHOUT_EFFECT = "without-effect"
"""Code of the notices."""


def keys_without_effect(context: RuleContext) -> Iterator[Problem]:
    """Report each written key whose conditions do not hold, and a written limit that another one comes before."""
    options = list(config_options(context.config))
    values = {path: value for path, _, value in options}
    for path, option, value in options:
        if path in context.written and value is not None:
            yield from _unmet(context.config, values, path, option)
    yield from _limits_not_reached(context)
    yield from _unused_cache(context)
    yield from _unused_shards(context)


def writes_every_key(config: Config) -> bool:
    """Return True for a config like the config.yaml of a run, in which a written key shows no intention."""
    return all(path in config.places for path, _, _ in config_options(config))


def without_effect(path: KeyPath, reason: str, *related: KeyPath) -> Problem:
    """Return the notice about a written key that has no effect."""
    message = f"{key_name(path)} has no effect: {reason}"
    return Problem(WITHOUT_EFFECT, message, path, related=related, severity="notice")


def _unmet(config: Config, values: Mapping[KeyPath, Any], path: KeyPath, option: Option) -> Iterator[Problem]:
    """Yield a notice for the first condition of a key that does not hold."""
    for condition in option.conditions:
        sibling: KeyPath = (*path[:-1], condition.key)
        other = sibling if sibling in values else tuple(condition.key.split("."))
        value = values[other] if other in values else config.sections[condition.key]
        if not condition.holds(value):
            yield without_effect(path, f"{key_name(other)} is {_text(value)}", other)
            return


def _limits_not_reached(context: RuleContext) -> Iterator[Problem]:
    """Report the written one of ``max_steps`` and ``num_epochs`` that does not end the run; needs its data."""
    training, total = context.config.training, context.facts.total_steps
    epochs, steps = ("training", "num_epochs"), ("training", "max_steps")
    if context.facts.samples is None or total is None or None in (training.num_epochs, training.max_steps):
        return
    if training.max_steps != total:
        yield without_effect(steps, f"training.num_epochs is {training.num_epochs}, which are {total} steps", epochs)
    else:
        yield without_effect(epochs, f"training.max_steps is {total}", steps)


def _unused_cache(context: RuleContext) -> Iterator[Problem]:
    """Report the written options of a cache that stays empty, and those of states of no encoder; needs the encoders."""
    if context.facts.cached is False and context.config.cache.mode == "auto":
        names = ("num_workers",) if _reads_urls(context.config) else ("dir", "num_workers")
        yield from _unused(context, names, "no output of the encoders of this config is cached")
    if context.facts.frozen_text is False:
        yield from _unused(context, ("text_dtype", "max_tokens"), "no text encoder of this config is frozen")


def _unused(context: RuleContext, names: Sequence[str], reason: str) -> Iterator[Problem]:
    """Report which of these options of the cache are written."""
    cache = context.config.cache
    for name in names:
        if ("cache", name) in context.written and getattr(cache, name) is not None:
            yield without_effect(("cache", name), reason)


def _unused_shards(context: RuleContext) -> Iterator[Problem]:
    """Report the written options of the cache of remote shards where no data are remote."""
    if not _reads_urls(context.config):
        yield from _unused(context, ("shards_gb",), "no data.dataset_path is a URL")
        if context.config.cache.mode == "off":
            yield from _unused(context, ("dir",), "cache.mode is off")


def _reads_urls(config: Config) -> bool:
    """Return True if a dataset of the config reads files by URL."""
    return any(
        path[0] == "data" and LocalPath.name in option.markers and isinstance(value, str) and is_url(value)
        for path, option, value in config_options(config)
    )


def _text(value: Any) -> str:
    """Describe the value of a key: ``false``, ``0``, ``off``, ``an empty list``."""
    if isinstance(value, tuple):
        return received(list(value))
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else received(value)
