"""Rules across the sections that the core owns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dit_run.config.effects import without_effect
from dit_run.config.keys import config_options, key_name
from dit_run.config.weaker_predictions import samples_empty_captions
from dit_run.problems import KeyPath, Problem
from dit_run.protocols import Adjustment, RuleContext

__all__ = ["CORE_RULES", "RuleResult"]

RuleResult = Problem | Adjustment


_NOT_SHARDED = (
    ("mixed_precision", "fp16", "bf16"),
    ("compile_model", "whole", "true"),
)
"""Keys of training with the value that sharded weights do not allow, and one that they do."""


def _checkpoints_are_saved(context: RuleContext) -> Iterator[RuleResult]:
    training = context.config.training
    if training.save_steps is None and training.save_every_n_epochs is None:
        yield Problem(
            "never-saved",
            "neither training.save_steps nor training.save_every_n_epochs is set: "
            "a stopped run would lose all progress",
            ("training", "save_steps"),
            related=(("training", "save_every_n_epochs"),),
            help=("set one of the two, such as training.save_steps: 500",),
        )


def _guidance_is_trained(context: RuleContext) -> Iterator[RuleResult]:
    config, path = context.config, ("sampling", "guidance_scale")
    if config.drops_captions or not samples_empty_captions(config):
        return
    if path not in context.written:
        reason = "training.caption_dropout is 0, so the model does not learn the empty caption that guidance needs"
        yield Adjustment(path, 1.0, reason)
        return
    yield Problem(
        "guidance-untrained",
        f"sampling.guidance_scale is {config.sampling.guidance_scale:g}, but "
        "training.caption_dropout is 0: guidance needs the empty caption, which the model would not learn",
        path,
        related=(("training", "caption_dropout"),),
        help=("set guidance_scale: 1, or train with caption_dropout: 0.1",),
    )


def _cached_crops_are_fixed(context: RuleContext) -> Iterator[RuleResult]:
    config, path = context.config, ("cache", "mode")
    random = [(*where, "crop") for where, data in config.datasets() if data.common.crop == "random"]
    if not random or config.cache.mode == "off":
        return
    name, related = _named(context, random[0])
    reason = "a random crop gives a different image each time, so its latents cannot be cached"
    if config.cache.mode == "auto":
        message = f"{name} is random: images are encoded in every step, and only caption states are cached"
        yield Problem("random-crop-not-kept", message, related, help=(reason,), severity="notice")
        return
    yield Problem(
        "random-crop-cached",
        f"cache.mode is {config.cache.mode}, but {name} is random: {reason}",
        path,
        related=(related,),
        help=(f"set cache.mode: auto, which caches caption states only, or {name}: center",),
    )


def _cached_captions_are_fixed(context: RuleContext) -> Iterator[RuleResult]:
    config, path = context.config, ("cache", "mode")
    varied = [(where, data.common) for where, data in config.datasets() if data.common.varies_captions]
    if not varied:
        return
    where, common = varied[0]
    name, related = _named(context, (*where, "shuffle_tags" if common.shuffle_tags else "tag_dropout"))
    if config.cache.mode == "auto":
        message = f"{name} is set: captions are encoded in every step, and only latents are cached"
        reason = "each visit reads another text, so its states cannot be cached"
        yield Problem("varied-captions-not-kept", message, related, help=(reason,), severity="notice")
    elif config.cache.mode == "required":
        yield Problem(
            "varied-captions-cached",
            f"cache.mode is required, but {name} is set: each visit reads another text, so the states of captions "
            "cannot be cached",
            path,
            related=(related,),
            help=("set cache.mode: auto, which caches latents only, or leave the tags as they are",),
        )


def _named(context: RuleContext, path: KeyPath) -> tuple[str, KeyPath]:
    """Return name and path of the key that gives a dataset its value: its own, or that of the mixture."""
    common: KeyPath = ("data", path[-1])
    key = path if path in context.written or common not in context.written else common
    return key_name(key), key


def _tags_are_kept_from_a_change(context: RuleContext) -> Iterator[RuleResult]:
    for where, data in context.config.datasets():
        common, path = data.common, (*where, "keep_tags")
        unused = common.keep_tags and common.tag_separator is not None and not common.varies_captions
        if unused and path in context.written:
            names = [(*where, name) for name in ("shuffle_tags", "tag_dropout")]
            reason = f"{key_name(names[0])} is false and {key_name(names[1])} is 0"
            yield without_effect(path, reason, *names)


def _intervals_run_upwards(context: RuleContext) -> Iterator[RuleResult]:
    low, high = context.config.sampling.guidance_interval
    if low > high:
        message = f"sampling.guidance_interval runs from {low:g} down to {high:g}"
        yield Problem(
            "empty-interval", message, ("sampling", "guidance_interval"), help=(f"write [{high:g}, {low:g}]",)
        )


def _gradients_fill_a_tree(context: RuleContext) -> Iterator[RuleResult]:
    training, path = context.config.training, ("training", "gradient_accumulation_steps")
    steps = training.gradient_accumulation_steps
    if training.elastic_exact and steps.bit_count() > 1:
        lower = 1 << (steps.bit_length() - 1)
        yield Problem(
            "not-a-power-of-two",
            f"training.elastic_exact needs a power of two of micro-batches per step, but {path[1]} is {steps}",
            path,
            related=(("training", "elastic_exact"),),
            help=(f"use {lower} or {2 * lower}, or set elastic_exact: false",),
        )


def _shards_fit(context: RuleContext) -> Iterator[RuleResult]:
    """Refuse what sharded weights do not allow."""
    training = context.config.training
    for name, value, instead in _NOT_SHARDED if training.shard != 1 else ():
        if getattr(training, name) == value:
            yield Problem(
                "not-sharded",
                f"training.{name} is {str(value).lower()}, which sharded weights (training.shard is {training.shard}) "
                "do not allow",
                ("training", name),
                related=(("training", "shard"),),
                help=(f"set {name}: {instead}, or shard: 1",),
            )


def _run_has_an_end(context: RuleContext) -> Iterator[RuleResult]:
    """Let a written ``max_steps`` alone end the run, and refuse a run without any end."""
    training, path = context.config.training, ("training", "num_epochs")
    if training.max_steps is not None and training.num_epochs is not None and path not in context.written:
        yield Adjustment(path, None, "training.max_steps is written, and alone ends the run", quiet=True)
    if training.max_steps is None and training.num_epochs is None:
        yield Problem(
            "never-ended",
            "neither training.num_epochs nor training.max_steps is set: the run would never end",
            path,
            related=(("training", "max_steps"),),
            help=("set one of the two, such as training.num_epochs: 100",),
        )


def _one_form_counts(context: RuleContext) -> Iterator[RuleResult]:
    """Set a default to null if another form of the same setting is written."""
    values = {path: value for path, _, value in config_options(context.config)}
    for path, option, value in config_options(context.config):
        if option.instead_of is not None and value is not None:
            other = (*path[:-1], option.instead_of)
            if values[other] is not None and other not in context.written:
                yield Adjustment(other, None, f"{key_name(path)} is written instead", quiet=True)


def _sampled_scalars_are_taken(context: RuleContext) -> Iterator[RuleResult]:
    taken = context.config.scalar_names
    for name in context.config.sampling.scalar_values():
        if name not in taken:
            yield Problem(
                "unknown-scalar",
                f"sampling.scalars gives {name!r}, which model {context.config.model.type} does not take",
                ("sampling", "scalars"),
                related=(("model", "scalars"),),
                help=(f"the model takes: {', '.join(taken) or 'none'}",),
            )


def _scalars_are_named_once(context: RuleContext) -> Iterator[RuleResult]:
    sampled = (text.rpartition("=")[0] for text in context.config.sampling.scalars)
    for section, names in (("model", context.config.scalar_names), ("sampling", tuple(sampled))):
        for name in sorted({name for name in names if names.count(name) > 1}):
            path = (section, "scalars")
            yield Problem(
                "named-twice", f"{key_name(path)} names {name!r} twice", path, help=("remove one of the two",)
            )


def _averages_are_named_once(context: RuleContext) -> Iterator[RuleResult]:
    names, listed = context.config.average_names, context.config.averages
    for index, choice in enumerate(listed):
        name = choice.common.name
        if name is not None and names.count(name) > 1:
            yield Problem(
                "named-twice",
                f"two averages of this run have the name {name!r}",
                ("averages", index, "name"),
                help=(f"all names: {', '.join(names)}; leave out name, or choose another one",),
            )


CORE_RULES: tuple[Callable[[RuleContext], Iterable[RuleResult]], ...] = (
    _checkpoints_are_saved,
    _guidance_is_trained,
    _cached_crops_are_fixed,
    _cached_captions_are_fixed,
    _tags_are_kept_from_a_change,
    _intervals_run_upwards,
    _gradients_fill_a_tree,
    _shards_fit,
    _run_has_an_end,
    _one_form_counts,
    _sampled_scalars_are_taken,
    _scalars_are_named_once,
    _averages_are_named_once,
)
