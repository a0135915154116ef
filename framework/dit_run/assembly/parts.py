"""The parts of a run, built from a checked config."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import nn

from dit_run.assembly.adaptation import adapt, build_adapter
from dit_run.assembly.initial_weights import initialise
from dit_run.assembly.trained_parameters import by_factor, freeze
from dit_run.cache.open_cache import Cached
from dit_run.compute.out_of_memory import translate_building
from dit_run.compute.precision import Precision
from dit_run.config.keys import key_name
from dit_run.config.weaker_predictions import weaker_prediction
from dit_run.hub import deferred_weights
from dit_run.model.codec import LatentShape, caption_conditions
from dit_run.model.conditioning import Conditions, EncoderCaptions, of_encoders
from dit_run.model.denoiser import Denoiser, model_keywords, trainable_parameters
from dit_run.model.latent_normalization import LatentNormalization
from dit_run.model.state_format import StateFormat
from dit_run.problems import InputError
from dit_run.protocols import (
    VAE,
    Guidance,
    ImageEncoder,
    Routed,
    Scheduler,
    SchedulerOf,
    TextEncoder,
)
from dit_run.registry.factories import PluginFault, make
from dit_run.settings import Choice, Config

__all__ = [
    "Encoders",
    "build_denoiser",
    "build_encoders",
    "build_guidance",
    "build_schedulers",
    "encoder_shapes",
    "seeded",
    "try_model",
]


@dataclass(frozen=True)
class Encoders:
    """The text encoders and the VAE of a run, on its device."""

    texts: tuple[TextEncoder, ...]
    """A text encoder, or several in the order of the config."""
    vae: VAE
    dtype: torch.dtype | None
    """Precision of the frozen encoders; None is float32."""
    state_format: StateFormat = field(default_factory=StateFormat)
    """Precision and number of tokens of the states of frozen text encoders."""
    cached: Cached = field(default_factory=Cached)
    """Their outputs that the cache holds."""
    features: Mapping[str, ImageEncoder] = field(default_factory=dict)
    """Frozen networks whose outputs objectives compare with, by the objectives' names."""

    @cached_property
    def conditions(self) -> Conditions:
        """Captions to conditions: token ids where an encoder trains, else states, from the cache or encoded now."""
        return of_encoders(self.captions)

    @property
    def captions(self) -> list[EncoderCaptions]:
        """The conditions of each text encoder."""
        return [self.live(text) if cache is None else cache for text, cache in self._with_caches()]

    @property
    def live_places(self) -> tuple[int, ...]:
        """Places of the frozen text encoders that encode captions in each step, because no cache has their states."""
        texts = enumerate(self._with_caches())
        return tuple(place for place, (text, cache) in texts if cache is None and not text.trainable)

    def with_texts(self, texts: Mapping[int, TextEncoder]) -> Encoders:
        """Return the same encoders with others at these places of the text encoders."""
        return replace(self, texts=tuple(texts.get(place, text) for place, text in enumerate(self.texts)))

    def live(self, text: TextEncoder) -> EncoderCaptions:
        """Return the conditions of one encoder without a cache."""
        return caption_conditions(text, self.dtype, self.state_format)

    def _with_caches(self) -> list[tuple[TextEncoder, EncoderCaptions | None]]:
        """Return each text encoder with the cache of its states; None for one that trains, or that has no cache."""
        caches = self.cached.captions or (None,) * len(self.texts)
        return [(text, None if text.trainable else cache) for text, cache in zip(self.texts, caches, strict=True)]

    @cached_property
    def latent_shape(self) -> LatentShape:
        """The latent shape (c, h, w) of images, as a function of height and width in pixels."""
        return LatentShape.of(self.vae)


def build_encoders(config: Config, device: torch.device) -> Encoders:
    """Return the text encoders and the VAE on the device, the frozen ones without gradients."""
    texts = _build_text_encoders(config)
    vae = seeded(config, "vae", config.vae)
    for text in texts:
        if not text.trainable:
            text.requires_grad_(False).eval()
    vae.requires_grad_(False).eval()
    dtype = Precision.of(config.training.mixed_precision, device).dtype
    form = StateFormat.named(config.cache.text_dtype, config.cache.max_tokens)
    return Encoders(tuple(text.to(device) for text in texts), vae.to(device), dtype, form)


def encoder_shapes(config: Config) -> Encoders:
    """Return the encoders on the CPU for their sizes: weights on a hub are not asked for."""
    with deferred_weights():
        return build_encoders(config, torch.device("cpu"))


def _build_text_encoders(config: Config) -> list[Any]:
    """Return the text encoders; an error of one of several names its place in the config's list."""
    choices = config.chosen("text_encoder")
    if len(choices) == 1:
        return [seeded(config, "text_encoder", choices[0])]
    texts = []
    for place, choice in enumerate(choices):
        name = key_name(("text_encoder", place))
        try:
            texts.append(seeded(config, name, choice))
        except InputError as error:
            raise InputError(f"{name} ({choice.type}): {error}") from error
    return texts


def build_denoiser(
    config: Config,
    encoders: Encoders,
    device: torch.device,
    *,
    begin: Callable[[str], None] | None = None,
    base: bool = False,
) -> Denoiser:
    """Return the model, and the text encoders that train, with initial weights that follow from the seed.

    ``begin`` is for a new run, which begins with pretrained weights of the model and those of ``training.init_from``:
    it gets lines that say which of them were taken. Without it, as for a run that has weights of its own, they are not
    read. ``base`` reads them nevertheless for an adapter, whose checkpoints have the weights of the adapter alone.
    """
    texts, adapter = encoders.texts, build_adapter(config)
    trained: list[Any] = [text if text.trainable else None for text in texts]
    with translate_building():
        read = begin is not None or (base and adapter is not None)
        normalized = config.vae.common.normalize is not None
        normalization = LatentNormalization(encoders.vae.latent_channels) if normalized else None
        denoiser = Denoiser(_build_model(config, encoders, initial=read), *trained, normalization=normalization)
        if adapter is None:
            freeze(denoiser, config.training.freeze)
        lines = _first_weights(config, denoiser) if read else []
        if adapter is not None and config.adapter is not None:
            with _seed(config, "adapter"):
                adapt(denoiser, adapter, config.adapter.type, base=read)
        by_factor(trainable_parameters(denoiser), config.training.learning_rate_factors)  # refuses its patterns early
        if begin is not None:
            for line in lines:
                begin(line)
        return denoiser.to(device)


def _build_model(config: Config, encoders: Encoders, *, initial: bool) -> nn.Module:
    keywords = {**model_keywords(encoders.texts, encoders.vae), "initial": initial}
    model: nn.Module = seeded(config, "model", config.model, **keywords)
    if (names := tuple(getattr(model, "scalars", ()))) != config.scalar_names:
        raise PluginFault(
            f"model {config.model.type} has the attribute scalars {names}, and its option scalars is "
            f"{config.scalar_names}; they must be the same (a fault of the plugin)"
        )
    return model


def try_model(config: Config, encoders: Encoders) -> None:
    """Build the model without weights, and add its adapter, so that misfits are refused before weights are read.

    A model of a plugin that cannot be built without values is not tried. Raises InputError as model and adapter do.
    """
    with translate_building(), torch.device("meta"):
        try:
            model = _build_model(config, encoders, initial=False)
        except PluginFault:
            return
        if (adapter := build_adapter(config)) is not None:
            adapter.add(model.requires_grad_(False))


def _first_weights(config: Config, denoiser: Denoiser) -> list[str]:
    """Load the weights of ``training.init_from``; return lines about these and the model's pretrained ones."""
    lines = list(getattr(denoiser.model, "notices", ()))
    return lines if config.training.init_from is None else [*lines, *initialise(denoiser, config)]


def build_schedulers(config: Config, encoders: Encoders) -> SchedulerOf:
    """Return the noise process with its samplers for each latent shape.

    With buckets it is that of the shape, else that of ``data.image_size`` for all.
    """
    if config.has_buckets:
        return cache(partial(_scheduler, config))
    size = config.data.common.image_size
    scheduler = _scheduler(config, encoders.latent_shape(size, size))
    return lambda shape: scheduler


def _scheduler(config: Config, shape: tuple[int, int, int]) -> Scheduler:
    scheduler: Scheduler = make(config.scheduler.component, config.scheduler.options, latent_shape=shape)
    return scheduler


def build_guidance(config: Config, denoiser: Denoiser) -> Guidance:
    """Return the guidance of sampling. Raises InputError for one by token routing of a model without it."""
    if isinstance(weaker_prediction(config), Routed) and not denoiser.routes:
        raise InputError(
            f"guidance {config.guidance.type} needs a model with token routing, which {config.model.type} has not; "
            "choose another guidance.type"
        )
    guidance: Guidance = make(config.guidance.component, config.guidance.options)
    return guidance


def seeded(config: Config, purpose: str, choice: Choice, **runtime: Any) -> Any:
    """Return a component whose random weights follow from seed and purpose; torch's own generator is untouched."""
    with _seed(config, purpose):
        return make(choice.component, choice.options, **runtime)


@contextlib.contextmanager
def _seed(config: Config, purpose: str) -> Iterator[None]:
    """Let torch's generator follow from seed and purpose for a while."""
    digest = hashlib.blake2b(f"{purpose} {config.training.seed}".encode(), digest_size=4).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "little"))
        yield
