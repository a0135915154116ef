"""Rules of transformers of diffusers: class and config of pretrained weights, and the scheduler that fits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dit_run.hub import Pretrained, local_path
from dit_run.problems import InputError, Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.models.diffusers_transformer.families import FAMILIES, Family
from dit_run_plugins.models.diffusers_transformer.transformer_config import (
    TransformerConfig,
    folder_problem,
    pretrained,
    read_config,
    read_schedule,
    unknown_class,
    weight_problems,
)

__all__ = ["all_written", "channels_problems", "class_fits", "config_of", "scheduler_fits"]

_OF_SCHEDULER: Mapping[str, tuple[str, ...]] = {
    "ddpm": ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule"),
    "flow_matching": ("shift",),
}
"""Keys of a pipeline's scheduler that the built-in types have too."""


def class_fits(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Take class and config from pretrained weights; refuse a folder of another class, and keys that disagree."""
    options, path = context.options, context.path
    if options.pretrained_model_name is None:
        yield from _class_problems(context, options.class_name)
        yield from _limit_problems(context, TransformerConfig(str(options.class_name), options.config))
        yield from scheduler_fits(context, options.class_name)
        return
    weights = pretrained(options.pretrained_model_name, options.revision)
    try:
        found = config_of(context, weights)
    except InputError as error:
        if not all_written(context, ("class_name", "config")):
            yield folder_problem(path, error)
        return
    if found is None:
        return
    if found.class_name not in FAMILIES:
        yield folder_problem(path, weights.error(f"is of another class: {unknown_class(found.class_name)}"))
        return
    yield from _agrees(context, found)
    yield from channels_problems(context, found.values.get("in_channels"))
    yield from weight_problems(context, weights)
    yield from _limit_problems(context, found)
    yield from scheduler_fits(context, found.class_name, weights)


def config_of(context: RuleContext, weights: Pretrained) -> TransformerConfig | None:
    """Return the config of pretrained weights; None where only a download shows it, and the rule may not download."""
    return read_config(weights, download=context.facts.downloads)


def all_written(context: RuleContext, keys: Iterable[str]) -> bool:
    """Return True for the config of a run that began, which needs its pretrained folder no more."""
    gone = local_path(context.options.pretrained_model_name) is None
    return gone and all((*context.path, key) in context.written for key in keys)


def channels_problems(context: RuleContext, into: Any) -> Iterator[Problem]:
    """Refuse pretrained weights for other latents than those of the VAE; None is not checked."""
    channels = context.facts.latent_channels
    if channels is not None and into not in (None, channels):
        name, vae = context.options.pretrained_model_name, context.config.vae.type
        yield Problem(
            "channels-do-not-fit",
            f"{name} has {into} latent channels, but the latents of VAE {vae} have {channels}",
            (*context.path, "pretrained_model_name"),
            related=(("vae", "type"),),
            help=("choose the VAE that the weights were trained with",),
        )


def _limit_problems(context: RuleContext, found: TransformerConfig) -> Iterator[Problem]:
    """Refuse sizes and texts that the config has no positions for."""
    family, options = FAMILIES.get(found.class_name), context.options
    if family is None:
        return
    try:
        limit, largest = family.text_limit(found.values, options.text_length), family.largest_side(found.values)
    except InputError as error:
        yield Problem("config-does-not-fit", str(error), (*context.path, "config"))
        return
    yield from _text_problems(context, found.class_name, limit)
    if options.text_length is not None and family.text_length is None:
        message = f"model.text_length has no effect: {found.class_name} has a mask of text tokens"
        yield Problem("no-effect", message, (*context.path, "text_length"), help=("leave text_length out",))
    factor = context.facts.latent_factor
    if largest is None or factor is None:
        return
    sizes = [(size, size) for size in (context.config.data.common.image_size,)]
    sizes += [each for _, data in context.config.datasets() for each in data.common.written_sizes()]
    if (side := max(map(max, sizes))) > largest * factor:
        message = f"an image has a side of {side} pixels, but {found.class_name} has positions for {largest * factor}"
        yield Problem("image-size-does-not-fit", message, ("data", "image_size"), related=((*context.path, "type"),))


def _text_problems(context: RuleContext, class_name: str, limit: int | None) -> Iterator[Problem]:
    """Refuse text encoders whose options allow more tokens than the model reads."""
    lengths = [getattr(choice.options, "max_length", None) for choice in context.config.chosen("text_encoder")]
    tokens = sum(length or 0 for length in lengths)
    if limit is not None and tokens > limit:
        key = "text_encoder.max_length" if len(lengths) == 1 else "the sum of all text_encoder[].max_length"
        yield Problem(
            "text-does-not-fit",
            f"{key} is {tokens}, but {class_name} reads {limit} tokens",
            ("text_encoder",),
            related=((*context.path, "type"),),
            help=(f"set max_length to {limit} at most",),
        )


def _class_problems(context: RuleContext, name: str | None) -> Iterator[Problem]:
    path = (*context.path, "class_name")
    if name is None:
        message = "model diffusers_transformer needs pretrained_model_name or class_name"
        help_ = (f"set model.class_name to one of {', '.join(FAMILIES)}",)
        yield Problem("no-class", message, path, related=((*context.path, "type"),), help=help_)
    elif name not in FAMILIES:
        yield Problem("unknown-class", f"model.class_name: {unknown_class(name)}", path)


def _agrees(context: RuleContext, found: TransformerConfig) -> Iterator[Problem | Adjustment]:
    """Set class and config to those of the folder; refuse written ones that differ."""
    options, name = context.options, context.options.pretrained_model_name
    class_path, config_path = ((*context.path, key) for key in ("class_name", "config"))
    if class_path not in context.written:
        yield Adjustment(class_path, found.class_name, "pretrained weights name their class", quiet=True)
    elif options.class_name != found.class_name:
        message = f"model.class_name is {options.class_name}, but {name} holds {found.class_name}"
        yield Problem("class-disagrees", message, class_path, help=("leave class_name out",))
    if config_path not in context.written:
        yield Adjustment(config_path, dict(found.values), "pretrained weights have their own config", quiet=True)
        return
    for key, value in options.config.items():
        theirs = found.values.get(key)
        if key not in found.values or _plain(theirs) != _plain(value):
            message = f"model.config.{key} is {_plain(value)}, but {_plain(theirs)} in the config.json of {name}"
            yield Problem("config-disagrees", message, config_path, help=("leave model.config out",))
    if set(found.values) - set(options.config):
        message = f"model.config is written, but {name} has a config of its own"
        yield Problem("config-not-needed", message, config_path, help=("leave model.config out",))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def scheduler_fits(
    context: RuleContext, class_name: str | None, weights: Pretrained | None = None
) -> Iterator[Problem | Adjustment]:
    """Refuse a prediction type that is not that of the weights; take the noise schedule from their pipeline."""
    family = FAMILIES.get(class_name or "")
    if family is None:
        return
    content = {} if weights is None else read_schedule(weights, download=context.facts.downloads)
    scheduler = context.config.scheduler
    wanted, has = _prediction(family, content), getattr(scheduler.options, "prediction_type", None)
    if has not in (None, wanted) and (weights is not None or family.reversed):
        yield _other_prediction(context, class_name, wanted, has, pretrained=weights is not None)
        return
    for key in _OF_SCHEDULER.get(scheduler.type, ()):
        value = content.get(key)
        if value is not None and value != getattr(scheduler.options, key) and not content.get("use_dynamic_shifting"):
            yield _other_schedule(context, key, value)


def _prediction(family: Family, scheduler: Mapping[str, Any]) -> str:
    """Return the prediction type: that of the pipeline's scheduler where it names one of ours, else the family's."""
    told = scheduler.get("prediction_type")
    return str(told) if family.predicts == "epsilon" and told in ("v_prediction", "sample") else family.predicts


def _other_prediction(
    context: RuleContext, class_name: str | None, wanted: str, has: str, *, pretrained: bool
) -> Problem:
    scheduler = "flow_matching" if wanted == "velocity" else "ddpm"
    of = context.options.pretrained_model_name if pretrained else class_name
    message = f"scheduler.prediction_type is {has}, but the output of {of} is {wanted}"
    if not pretrained:
        message += ", with the sign and the direction of time that its pipeline expects"
    return Problem(
        "prediction-does-not-fit",
        message,
        ("scheduler", "prediction_type"),
        related=(("scheduler", "type"), (*context.path, "pretrained_model_name"), (*context.path, "class_name")),
        help=(f"set scheduler: {{type: {scheduler}, prediction_type: {wanted}}}",),
    )


def _other_schedule(context: RuleContext, key: str, value: Any) -> Problem | Adjustment:
    path, name = ("scheduler", key), context.options.pretrained_model_name
    if path not in context.written:
        return Adjustment(path, value, f"{name} was trained with this value")
    has = getattr(context.config.scheduler.options, key)
    message = f"scheduler.{key} is {has}, but {name} was trained with {value}"
    return Problem("schedule-differs", message, path, severity="notice")
