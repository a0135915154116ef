"""Whether image size, VAE and model fit together, as far as it is known before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import Problem
from dit_run.protocols import RuleContext
from dit_run.settings import Choice

__all__ = ["latent_problems"]


def latent_problems(context: RuleContext, *, channels: int | None, factor: int | None) -> Iterator[Problem]:
    """Problems of a config whose VAE has so many latent channels and so many pixels per latent pixel along a side.

    For the rules of VAE plugins; None where only the weights know. The model is asked for its options ``in_channels``,
    ``out_channels`` and ``patch_size`` and is left alone where it has none of that name.
    """
    if channels is not None:
        yield from _channel_problems(context, channels)
    if factor is not None:
        yield from _size_problems(context, factor)


def _channel_problems(context: RuleContext, channels: int) -> Iterator[Problem]:
    model, vae = context.config.model, context.config.vae
    for key in ("in_channels", "out_channels"):
        value = getattr(model.options, key, None)
        if value is not None and value != channels:
            yield Problem(
                code="channels-do-not-fit",
                message=f"model.{key} is {value}, but the latents of vae {_named(vae)} have {channels} channels",
                path=("model", key),
                related=(context.path,),
                help=(f"write {key}: {channels} in model, or take another vae",),
            )


def _size_problems(context: RuleContext, factor: int) -> Iterator[Problem]:
    config = context.config
    size, patch = config.data.common.image_size, getattr(config.model.options, "patch_size", 1)
    unit = factor * patch
    if size % unit:
        below, above = max(size // unit, 1) * unit, -(-size // unit) * unit
        near = f"{below} or {above}" if below < above else str(above)
        yield Problem(
            code="image-size-does-not-fit",
            message=f"data.image_size is {size}, which is no multiple of {unit}: vae {_named(config.vae)} has "
            f"{factor} pixels per latent pixel, model.patch_size is {patch}",
            path=("data", "image_size"),
            related=(("model", "patch_size"), context.path),
            help=(f"take {near}",),
        )


def _named(vae: Choice) -> str:
    """The type, with the name of its weights where its options hold one."""
    name = getattr(vae.options, "pretrained_model_name", None)
    return f"{vae.type} ({name})" if name else vae.type
