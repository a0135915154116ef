"""Rules: checks across keys, by the core and by components, and the defaults they adjust."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from dit_run.config.adapter_rules import adapter_has_a_base, base_is_frozen
from dit_run.config.core_rules import CORE_RULES, RuleResult
from dit_run.config.effects import WITHOUT_EFFECT, keys_without_effect, writes_every_key
from dit_run.config.keys import config_options, key_name
from dit_run.config.objective_rules import every_step_has_an_objective, objectives_act
from dit_run.problems import ConfigError, KeyPath, Place, Problem
from dit_run.protocols import Adjustment, Facts, RuleContext
from dit_run.registry.factories import resolve
from dit_run.settings import Choice, Config

__all__ = ["check_rules", "encoder_problems", "latent_problems", "patch_size", "refuse", "replace_value"]

_MOST_ROUNDS = 4


def check_rules(config: Config, facts: Facts = Facts()) -> Config:  # noqa: B008 (frozen)
    """Return the config with adjusted defaults and their notices; raise ConfigError with all problems.

    Call it again with the returned config when more facts are known: adjustments are computed from the defaults again.
    """
    config = _unadjusted(config)
    for _ in range(_MOST_ROUNDS):
        findings = list(_findings(config, facts))
        adjustments = [f for f in findings if isinstance(f, Adjustment) and f.path not in config.adjusted]
        if not adjustments:
            break
        for adjustment in adjustments:
            config = _adjust(config, adjustment)
    problems = [finding for finding in findings if isinstance(finding, Problem)]
    if writes_every_key(config):
        problems = [problem for problem in problems if problem.code != WITHOUT_EFFECT]
    refuse(config, (problem for problem in problems if problem.severity == "error"))
    return dataclasses.replace(config, notices=(*config.notices, *(_placed(problem, config) for problem in problems)))


def refuse(config: Config, problems: Iterable[Problem]) -> None:
    """Raise ConfigError with the problems at their places, if there are any."""
    placed = [_placed(problem, config) for problem in problems]
    last = Place("\U0010ffff", 0, 0)
    if placed:
        raise ConfigError(sorted(placed, key=lambda problem: (problem.place or last, problem.code)))


# ---------------------------------------------------------------------------------------------------------- all rules


def _findings(config: Config, facts: Facts) -> Iterator[RuleResult]:
    context = RuleContext(config, (), None, facts, config.written)
    rules = (*CORE_RULES, adapter_has_a_base, base_is_frozen, objectives_act, every_step_has_an_objective)
    for rule in (*rules, _latents_fit, keys_without_effect):
        yield from rule(context)
    for path, choice in config.choices():
        yield from _component_findings(RuleContext(config, path, choice.options, facts, config.written), choice)


def _component_findings(context: RuleContext, choice: Choice) -> Iterator[RuleResult]:
    for reference in choice.component.rules:
        try:
            for finding in resolve(reference)(context):
                yield _checked(finding, context)
        except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
            message = f"the rule {reference} of {choice.component.name} failed: {type(error).__name__}: {error}"
            help_ = ("this is a bug in the plugin; report it to its author",)
            yield Problem("rule-failed", message, context.path, help=help_)


def _checked(finding: object, context: RuleContext) -> RuleResult:
    if not isinstance(finding, Problem | Adjustment):
        raise TypeError(f"it returned {finding!r}, which is neither a Problem nor an Adjustment")
    if isinstance(finding, Adjustment) and finding.path in context.written:
        raise ValueError(f"it adjusts {key_name(finding.path)}, which the config sets")
    return finding


def _placed(problem: Problem, config: Config) -> Problem:
    """Place the problem at the first of its keys that is written, or at the nearest written section."""
    if problem.place is not None:
        return problem
    concerned = [problem.path, *problem.related]
    written = [path for path in concerned if path in config.places]
    if written:
        places = [config.places[path] for path in written]
        return dataclasses.replace(problem, place=places[0], related_places=tuple(places[1:]))
    parents = [path[:length] for path in concerned for length in range(len(path) - 1, -1, -1)]
    place = next((config.places[path] for path in parents if path in config.places), None)
    return dataclasses.replace(problem, place=place)


# -------------------------------------------------------------------------------------------------------- adjustments


def _unadjusted(config: Config) -> Config:
    for path, default in config.adjusted.items():
        config = replace_value(config, path, default)
    kept = tuple(notice for notice in config.notices if notice.path not in config.adjusted and notice.path == ())
    return dataclasses.replace(config, adjusted={}, notices=kept)


def _adjust(config: Config, adjustment: Adjustment) -> Config:
    old = next(value for path, _, value in config_options(config) if path == adjustment.path)
    message = f"{key_name(adjustment.path)} is {adjustment.value} instead of its default {old}"
    notice = Problem("adjusted-default", message, adjustment.path, help=(adjustment.reason,), severity="notice")
    config = replace_value(config, adjustment.path, adjustment.value)
    notices = config.notices if adjustment.quiet else (*config.notices, notice)
    return dataclasses.replace(config, adjusted={**config.adjusted, adjustment.path: old}, notices=notices)


def replace_value(config: Config, path: KeyPath, value: Any) -> Config:
    """Return the config with another value for one option."""
    section, *rest = path
    held = _replaced(config.sections[str(section)], tuple(rest), value)
    return dataclasses.replace(config, sections={**config.sections, str(section): held})


def _replaced(held: Any, path: KeyPath, value: Any) -> Any:
    """Return what a path goes through, with another value at its end."""
    if not path:
        return value
    step, *rest = path
    if isinstance(held, tuple):
        index = int(step)
        return (*held[:index], _replaced(held[index], tuple(rest), value), *held[index + 1 :])
    if not isinstance(held, Choice):
        return dataclasses.replace(held, **{str(step): _replaced(getattr(held, str(step)), tuple(rest), value)})
    for name in ("item", "common"):
        holder = getattr(held, name)
        if holder is not None and step in {field.name for field in dataclasses.fields(holder)}:
            return dataclasses.replace(held, **{name: _replaced(holder, path, value)})
    return dataclasses.replace(held, options=_replaced(held.options, path, value))


# ---------------------------------------------------------------------------------------------- for rules of components


def encoder_problems(config: Config, section: str, *, because: str, index: int = 0) -> Iterator[Problem]:
    """Yield a problem if ``cache.mode`` is ``required`` but the output of a section's encoder cannot be cached.

    ``section`` is ``vae`` or ``text_encoder``, ``index`` the place of the encoder in a list of several. For the rules
    of such encoders, and for the engine when it builds them.
    """
    if config.cache.mode == "required":
        choices = config.chosen(section)
        path: KeyPath = (section, index) if len(choices) > 1 else (section,)
        yield Problem(
            "not-cacheable",
            f"cache.mode is required, but the output of {key_name(path)} {choices[index].type} cannot be cached: "
            f"{because}",
            ("cache", "mode"),
            related=((*path, "type"),),
            help=("set cache.mode: auto, which caches the other outputs",),
        )


def _latents_fit(context: RuleContext) -> Iterator[RuleResult]:
    """Check what depends on the latents once the VAE is built."""
    facts = context.facts
    yield from latent_problems(context.config, factor=facts.latent_factor, channels=facts.latent_channels)


def latent_problems(
    config: Config, *, factor: int | None = None, channels: int | None = None, vae: KeyPath = ("vae",)
) -> Iterator[RuleResult]:
    """Yield problems of an image size, patch size or channel count that does not fit the latents.

    The latents have ``channels`` channels and 1/``factor`` of the image's side; None is not checked. Channels of the
    model that are not written become those of the latents. For the rule of a VAE that knows them from its options or a
    local config.json, and for the engine when the VAE is built.
    """
    options, size = config.model.options, config.data.common.image_size
    if factor is not None:
        yield from _size_problems(config, size, factor, vae)
    for path in (("model", "in_channels"), ("model", "out_channels")):
        value = getattr(options, path[1], None)
        if None in (channels, value) or value == channels:
            continue
        if path not in config.written:
            yield Adjustment(path, channels, f"the latents of VAE {config.vae.type} have {channels} channels", True)
            continue
        yield Problem(
            "channels-do-not-fit",
            f"model.{path[1]} is {value}, but the latents of VAE {config.vae.type} have {channels} channels",
            path,
            related=((*vae, "type"),),
            help=(f"set model.{path[1]}: {channels}, or leave it out",),
        )


def patch_size(config: Config) -> int:
    """Return the side of a patch of the config's model in latent positions; 1 for a model without patches."""
    patch: int = getattr(config.model.options, "patch_size", 1)
    return patch


def _size_problems(config: Config, size: int, factor: int, vae: KeyPath) -> Iterator[Problem]:
    """Yield problems of sizes that are no multiple of the VAE's factor times the model's patch size."""
    patch = patch_size(config)
    unit = factor * patch
    because = f"VAE {config.vae.type} reduces each side by {factor}, model {config.model.type} has patches of {patch}"
    related = (("model", "patch_size"), (*vae, "type"))
    if size % unit:
        yield Problem(
            "image-size-does-not-fit",
            f"data.image_size is {size}, not a multiple of {unit}: {because}",
            ("data", "image_size"),
            related=related,
            help=_nearest_sizes(size, unit),
        )
    for where, data in config.datasets():
        written = [key for key in ((*where, "buckets"), ("data", "buckets")) if key in config.written]
        for height, width in data.common.written_sizes():
            if (height % unit or width % unit) and written:
                name = key_name(written[0])
                yield Problem(
                    "image-size-does-not-fit",
                    f"the size {height}x{width} of {name} has a side that is not a multiple of {unit}: {because}",
                    written[0],
                    related=related,
                    help=(f"use multiples of {unit}, or {name}: auto",),
                )


def _nearest_sizes(size: int, unit: int) -> tuple[str, ...]:
    lower, upper = size // unit * unit, -(-size // unit) * unit
    return (f"set data.image_size to {lower} or {upper}" if lower else f"set data.image_size to {upper}",)
