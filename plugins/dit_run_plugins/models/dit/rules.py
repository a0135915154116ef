"""Rules for the options of the dit; light to import."""

from __future__ import annotations

from collections.abc import Iterator

from dit_run.problems import InputError, Problem
from dit_run.protocols import Adjustment, RuleContext
from dit_run_plugins.models.dit import Dit, routed_range

__all__ = ["channels_agree", "check_channels", "convolution_has_a_grid", "heads_divide", "route_fits"]


def heads_divide(context: RuleContext) -> Iterator[Problem]:
    """Check that num_heads divides hidden_size and that a written attention_head_dim equals the quotient."""
    options: Dit = context.options
    path, width, heads, head_dim = context.path, options.hidden_size, options.num_heads, options.attention_head_dim
    if width % heads:
        below, above = (next(n for n in numbers if width % n == 0) for numbers in _outwards(heads, width))
        yield Problem(
            code="heads-do-not-divide",
            message=f"model.num_heads {heads} does not divide model.hidden_size {width}",
            path=(*path, "num_heads"),
            related=((*path, "hidden_size"),),
            help=(f"the nearest numbers that divide {width} are {below} and {above}",),
        )
    elif head_dim is not None and head_dim * heads != width:
        yield Problem(
            code="head-dim-disagrees",
            message=f"model.attention_head_dim {head_dim} is not model.hidden_size {width} / model.num_heads {heads} = "
            f"{width // heads}",
            path=(*path, "attention_head_dim"),
            related=((*path, "hidden_size"), (*path, "num_heads")),
            help=(f"leave attention_head_dim out, or write {width // heads}",),
        )


def _outwards(heads: int, width: int) -> tuple[range, range]:
    return range(min(heads, width), 0, -1), range(heads, width + 1) if heads <= width else range(width, width + 1)


def channels_agree(context: RuleContext) -> Iterator[Problem | Adjustment]:
    """Check that out_channels equals in_channels; the one that is not written becomes the other."""
    options: Dit = context.options
    into, out = (*context.path, "in_channels"), (*context.path, "out_channels")
    if options.in_channels == options.out_channels:
        return
    if out not in context.written:
        yield Adjustment(out, options.in_channels, "model.in_channels is written", quiet=True)
    elif into not in context.written:
        yield Adjustment(into, options.out_channels, "model.out_channels is written", quiet=True)
    else:
        yield Problem(
            code="channels-disagree",
            message=f"model.out_channels {options.out_channels} is not model.in_channels {options.in_channels}: "
            "the prediction has the shape of the latents",
            path=out,
            related=(into,),
        )


def route_fits(context: RuleContext) -> Iterator[Problem]:
    """Check that the blocks which a share of the patches skips are blocks of the model."""
    options: Dit = context.options
    blocks, path = routed_range(options), (*context.path, "routed_blocks")
    if options.routed_share == 0 or (blocks and blocks[-1] < options.num_layers):
        return
    named = "null" if options.routed_blocks is None else f"[{', '.join(map(str, options.routed_blocks))}]"
    yield Problem(
        "route-does-not-fit",
        f"model.routed_blocks is {named}, which names no range of the {options.num_layers} blocks of the model",
        path,
        related=((*context.path, "routed_share"), (*context.path, "num_layers")),
        help=(f"write the first and the last block, from 0 to {options.num_layers - 1}, or routed_share: 0",),
    )


def convolution_has_a_grid(context: RuleContext) -> Iterator[Problem]:
    """Check that no patch skips a block whose attention has a convolution over the patches around it."""
    options: Dit = context.options
    if options.attention_convolution and options.routed_share:
        yield Problem(
            "convolution-without-grid",
            f"model.attention_convolution is true, and model.routed_share is {options.routed_share:g}: a convolution "
            "needs the patches around each patch, of which this share skips blocks",
            (*context.path, "attention_convolution"),
            related=((*context.path, "routed_share"),),
            help=("write attention_convolution: false, or routed_share: 0",),
        )


def check_channels(in_channels: int, latent_channels: int) -> None:
    """Raise InputError if the channels of the model are not those of the latents."""
    if in_channels != latent_channels:
        raise InputError(
            f"model.in_channels is {in_channels}, but the VAE's latents have {latent_channels} channels; "
            f"set model.in_channels and model.out_channels to {latent_channels}"
        )
