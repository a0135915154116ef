"""An image transformer of diffusers with the interface of the core."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dit_run.hub import DIFFUSERS
from dit_run.problems import InputError
from dit_run.protocols import TextStates
from dit_run_plugins.models.diffusers_transformer import DiffusersTransformer
from dit_run_plugins.models.diffusers_transformer.calls import CALLS, Inputs
from dit_run_plugins.models.diffusers_transformer.families import FAMILIES
from dit_run_plugins.models.diffusers_transformer.pretrained_weights import load_weights
from dit_run_plugins.models.diffusers_transformer.transformer_config import (
    FOLDERS,
    KEY,
    TransformerConfig,
    pretrained,
    read_config,
    unknown_class,
)

__all__ = ["DiffusersNetwork", "Widths", "build", "check_arguments", "make_module"]


class DiffusersNetwork(nn.Module):
    """Implements :class:`dit_run.protocols.Model`; a dropped caption is the encoded empty one."""

    def __init__(
        self,
        transformer: nn.Module,
        *,
        class_name: str,
        latent_channels: int,
        latent_factor: int,
        text_length: int | None = None,
        gradient_checkpointing: bool = False,
        notices: tuple[str, ...] = (),
    ) -> None:
        """Call ``transformer``, of the class of that name.

        Only the first ``latent_channels`` of its output are the prediction: a learned variance is not used.
        ``text_length`` replaces the number of tokens that a class without a mask reads.
        """
        super().__init__()
        family = FAMILIES[class_name]
        self.transformer = transformer
        self.patch_size = family.patch_size(transformer.config)  # type: ignore[arg-type]
        self.notices = notices
        self._call, self._sign = CALLS[class_name], -1 if family.reversed else 1
        self._channels, self._factor = latent_channels, latent_factor
        self.text_length = (text_length or family.text_length) if family.text_length is not None else None
        self._largest_side = family.largest_side(transformer.config)  # type: ignore[arg-type]
        self._text_limit = family.text_limit(transformer.config, text_length)  # type: ignore[arg-type]
        if gradient_checkpointing:
            transformer.enable_gradient_checkpointing()  # type: ignore[operator]

    @property
    def diffusers_module(self) -> nn.Module:
        """The module of diffusers, with the config and the weights that its own ``save_pretrained`` writes."""
        return self.transformer

    def forward(self, latents: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        """Return the prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n] in [0, 1000]."""
        self._check(latents, text)
        output = self._call(self.transformer, Inputs(latents, timesteps, text, self._factor, self.text_length))
        return self._sign * output[:, : self._channels]

    def _check(self, latents: Tensor, text: TextStates) -> None:
        """Raise InputError for sizes without positions, which some classes would read at wrong places."""
        side, tokens = max(latents.shape[2:]), text.tokens.shape[1]
        if self._largest_side is not None and side > self._largest_side:
            raise InputError(
                f"an image has {side} latent positions along a side, and the model positions for {self._largest_side}"
            )
        if self._text_limit is not None and tokens > self._text_limit:
            raise InputError(
                f"captions have up to {tokens} tokens, and the model reads {self._text_limit}; set "
                f"text_encoder.max_length: {self._text_limit}"
            )


class Widths:
    """Sizes that a transformer shares with the encoders: filled into a config, and checked in it."""

    def __init__(self, *, latent_channels: int, text_width: int, pooled_width: int) -> None:
        self._channels, self._text, self._pooled = latent_channels, text_width, pooled_width

    def filled(self, class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config with the sizes that it leaves out."""
        family = FAMILIES[class_name]
        own = dict.fromkeys(family.channel_keys, self._channels)
        own |= {key: width for key, width in ((family.text_key, self._text), (family.pooled_key, self._pooled)) if key}
        return {**own, **config}

    def check(self, class_name: str, config: Mapping[str, Any], where: str) -> None:
        """Raise InputError, which begins with ``where``, if the config of a class does not fit the encoders."""
        family = FAMILIES[class_name]
        for key, reason in family.refused.items():
            if config.get(key):
                raise InputError(f"{where}: {class_name} cannot be trained with {key} {config[key]}: {reason}")
        self._check_channels(class_name, config, where)
        self._check_text(class_name, config, where, family.text_key, self._text, "token states")
        self._check_text(class_name, config, where, family.pooled_key, self._pooled, "pooled vectors")

    def _check_channels(self, class_name: str, config: Mapping[str, Any], where: str) -> None:
        into, out = config.get("in_channels"), config.get("out_channels") or config.get("in_channels")
        if into != self._channels or out not in (self._channels, 2 * self._channels):
            raise InputError(
                f"{where}: {class_name} has {into} latent channels in and {out} out, but the VAE's latents have "
                f"{self._channels}; choose the VAE of these weights, or correct the config"
            )

    def _check_text(
        self, class_name: str, config: Mapping[str, Any], where: str, key: str | None, width: int, noun: str
    ) -> None:
        if key is not None and config.get(key) not in (None, width):
            raise InputError(
                f"{where}: {class_name} reads {noun} of width {config[key]} ({key}), but those of the text encoder "
                f"have width {width}; choose the text encoder that the weights were trained with, or leave out the "
                "pretrained weights"
            )


def build(
    options: DiffusersTransformer,
    *,
    latent_channels: int,
    latent_factor: int,
    text_width: int,
    pooled_width: int,
    initial: bool = True,
) -> DiffusersNetwork:
    """Return the model with pretrained or new weights.

    Raises InputError for a class, a config or weights that do not fit the encoders or each other.
    """
    widths = Widths(latent_channels=latent_channels, text_width=text_width, pooled_width=pooled_width)
    weights = (
        None if options.pretrained_model_name is None else pretrained(options.pretrained_model_name, options.revision)
    )
    load = weights if initial else None
    if weights is not None and (load or options.class_name is None):
        found, where = read_config(weights, download=True), KEY
    else:
        found, where = TransformerConfig(str(options.class_name), options.config), "model.config"
    assert found is not None
    if found.class_name not in FAMILIES:
        raise InputError(f"{where}: {unknown_class(found.class_name)}")
    config = widths.filled(found.class_name, found.values) if weights is None else found.values
    if weights is None:
        check_arguments(found.class_name, config)
    module = make_module(found.class_name, config, where, initialise=load is None)
    widths.check(found.class_name, module.config, where)  # type: ignore[arg-type]
    return DiffusersNetwork(
        module,
        class_name=found.class_name,
        latent_channels=latent_channels,
        latent_factor=latent_factor,
        text_length=options.text_length,
        gradient_checkpointing=options.gradient_checkpointing,
        notices=() if load is None else (load_weights(module, load, load.weight_files(DIFFUSERS, FOLDERS)),),
    )


def make_module(class_name: str, config: Mapping[str, Any], where: str, *, initialise: bool = True) -> nn.Module:
    """Return a module of diffusers with these arguments, in training mode.

    Without ``initialise`` its weights have no values yet. Raises InputError, which begins with ``where``, for arguments
    that the class refuses.
    """
    import diffusers
    from diffusers.models.modeling_utils import no_init_weights

    try:
        with contextlib.nullcontext() if initialise else no_init_weights():
            module: nn.Module = getattr(diffusers, class_name).from_config(dict(config))
    except Exception as error:  # a class may raise anything for values that do not fit together
        raise InputError(
            f"{where}: no {class_name} can be made of this config: {error or type(error).__name__}"
        ) from error
    return module.train()


def check_arguments(class_name: str, config: Mapping[str, Any]) -> None:
    """Raise InputError for an argument that the class does not have, which it would ignore."""
    import diffusers

    known = list(inspect.signature(getattr(diffusers, class_name).__init__).parameters)[1:]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known)}"
            raise InputError(f"model.config: {class_name} has no argument {key}{hint}")
